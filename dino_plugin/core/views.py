"""What everything passes around, and the glossary of axes.

========  =====================================================================================================
axis      meaning
========  =====================================================================================================
views     crops of one image; global views first, in the same order for student and teacher
batch     images of this process
channels  colour channels of a view, in RGB order
rows      height: pixels of a view, or cells of the patch grid
columns   width: pixels of a view, or cells of the patch grid
dim       features of a token
prototypes  outputs of a head, the "classes" of self-distillation
========  =====================================================================================================

Views come before the batch, the batch before the rest; patches keep their grid.
"""

from typing import Any, NamedTuple, NoReturn

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


class ViewBatch(NamedTuple):
    """The views of one batch of images.

    Before :class:`~dino_plugin.data.preprocessor.ViewPreprocessor` a block is uint8 ``views batch rows columns 3``
    (or float ``views batch channels rows columns`` from foreign transforms); after it, always the latter, normalised.
    What a recipe does not have is None.

    Args:
        global_views: Seen by student and teacher.
        local_views: Smaller ones, seen by the student only.
        masks: True where a patch of a global view is hidden from the student.
        hidden: Positions of the hidden patches in the flattened masks. They are counted where masks are made, since
            looking for them later would make the host wait for the device.
        anchor_views: The boxes and flips of the global views once more, without colour changes and with as many pixels
            or more; seen by an anchor only (:class:`~dino_plugin.core.losses.gram.GramLoss`).
        unfinished: What the preprocessor has yet to do for the views, None after it
            (:class:`~dino_plugin.data.views.unfinished_views.Unfinished`). Views that are not even cut out of their
            images have no pixels: their rows and columns are 0.
    """

    global_views: Shaped[Tensor, 'views batch _ _ _']
    local_views: Shaped[Tensor, 'views batch _ _ _'] | None = None
    masks: Bool[Tensor, 'views batch rows columns'] | None = None
    hidden: Int[Tensor, ' hidden'] | None = None
    anchor_views: Shaped[Tensor, 'views batch _ _ _'] | None = None
    unfinished: Any = None

    def with_masks(self, masks: Bool[Tensor, 'views batch rows columns']) -> 'ViewBatch':
        """The same views, with these patches of the global ones hidden."""
        return self._replace(masks=masks, hidden=masks.flatten().nonzero()[:, 0])


class Tokens(NamedTuple):
    """What a backbone makes of images: one vector for the image, one for each cell of its patch grid.

    For networks without a class token ``class_token`` is the pooled feature map.
    """

    class_token: Float[Tensor, '*leading dim']
    patches: Float[Tensor, '*leading rows columns dim']


class ClassTokenOnly(Tokens):
    """Tokens of a backbone that was told that no loss reads the patches: ``ClassTokenOnly(class_token, None)``."""

    __slots__ = ()

    @property
    def patches(self) -> NoReturn:
        """Not there.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'These tokens have no patches, since no loss says that it reads them. A loss that does names them in '
            "reads_patches, for example reads_patches = ('student_global', 'teacher_global')."
        )
