"""Views and tokens, the data that all parts exchange, and the names of their axes.

========  =====================================================================================================
axis      meaning
========  =====================================================================================================
views     crops of one image; global views first, in the same order for student and teacher
batch     images of this process
channels  of a view: red, green and blue, or those of ``LoadChannels``
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

    Before :class:`~dino_plugin.data.preprocessor.ViewPreprocessor`, views are uint8 ``views batch rows columns 3``
    (int16, 128ths of a level, where channels are not RGB), or float ``views batch channels rows columns`` from other
    packages' transforms. After it they are always the latter, normalised. What a recipe does not use is None.

    Args:
        global_views: Seen by student and teacher.
        local_views: Smaller ones, seen by the student only.
        masks: True where a patch of a global view is masked: the student does not see it.
        mask_indices: Indices of the masked patches in the flattened masks. They are computed with the masks: later the
            host would have to wait for the device.
        anchor_views: The crop boxes and flips of the global views again, without colour changes and with at least as
            many pixels; only an anchor sees them (:class:`~dino_plugin.core.losses.gram.GramLoss`).
        unfinished: What the preprocessor still has to do, None after it
            (:class:`~dino_plugin.data.views.unfinished_views.Unfinished`). Views that are not cropped yet have no
            pixels: their rows and columns are 0.
    """

    global_views: Shaped[Tensor, 'views batch _ _ _']
    local_views: Shaped[Tensor, 'views batch _ _ _'] | None = None
    masks: Bool[Tensor, 'views batch rows columns'] | None = None
    mask_indices: Int[Tensor, ' masked'] | None = None
    anchor_views: Shaped[Tensor, 'views batch _ _ _'] | None = None
    unfinished: Any = None

    def with_masks(self, masks: Bool[Tensor, 'views batch rows columns']) -> 'ViewBatch':
        """The same views, with masks for the global ones."""
        return self._replace(masks=masks, mask_indices=masks.flatten().nonzero()[:, 0])


class Tokens(NamedTuple):
    """Output of a backbone: one vector for each image, and one for each cell of its patch grid.

    For networks without a class token, ``class_token`` is the pooled feature map.
    """

    class_token: Float[Tensor, '*leading dim']
    patches: Float[Tensor, '*leading rows columns dim']


class ClassTokenOnly(Tokens):
    """Tokens without patches, for views whose patches no loss reads: ``ClassTokenOnly(class_token, None)``."""

    __slots__ = ()

    @property
    def patches(self) -> NoReturn:
        """Raises: ValueError: Always, since they were not computed."""
        raise ValueError(
            'These tokens have no patches: no loss asked for them. A loss that reads patches names them, for example '
            "reads_patches = ('student_global', 'teacher_global')."
        )
