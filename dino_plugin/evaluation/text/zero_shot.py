"""Classes by their names: no image of them was ever labelled."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.evaluation.text.class_names import Names, Template, class_names, templates_of
from dino_plugin.evaluation.text.towers import ImageTextTowers, unit


class NamedClasses(ImageTextTowers):
    """The common part of models that compare images with names of classes.

    Args:
        classes: See `class_names`; in the order of the labels.
        templates: See `templates_of`; by default CLIP's eighty, whose vectors are averaged.
        **model: As in `ImageTextTowers`; `tools/test.py` takes what is not given from the checkpoint.

    Raises:
        ValueError: As `class_names` and `templates_of`.
    """

    def __init__(
        self,
        classes: Names,
        templates: str | Sequence[Template] = 'open_clip.OPENAI_IMAGENET_TEMPLATES',
        **model: Any,
    ) -> None:
        super().__init__(**model)
        self.names, self.templates = class_names(classes), templates_of(templates)
        self._vectors: Tensor | None = None

    def train(self, mode: bool = True) -> 'NamedClasses':
        """mmengine's; texts are encoded anew afterwards."""
        self._vectors = None
        return super().train(mode)

    def vectors_of_classes(self, part: slice = slice(None)) -> Float[Tensor, 'classes dim']:
        """Those of `class_vectors`, computed once."""
        if self._vectors is None:
            self._vectors = self.class_vectors(self.names, self.templates, part)
        return self._vectors


class ZeroShotClassifier(NamedClasses):
    """Images -> the class whose name is nearest, for mmpretrain's ``Accuracy``.

    score_c = scale <v, t_c> of normalised vectors; t_c is the normalised mean of the normalised sentences about c

    Predictions have softmax_c(score): ``Accuracy`` takes scores of 0 and less for wrong.

    References:
        Radford et al. 2021, arXiv:2103.00020, section 3.1.4.
    """

    def forward(
        self,
        images: Float[Tensor, 'images channels rows columns'],
        labels: Int[Tensor, ' images'] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Scores in mode 'tensor'; in mode 'predict' for each image a dict of ``pred_score`` and ``gt_label``.

        Raises:
            ValueError: In mode 'loss', or if a label has no name.
        """
        if mode == 'loss':
            raise ValueError('ZeroShotClassifier has no loss: run its config by tools/test.py; ImageTextModel trains.')
        vectors = unit(self.vision.vectors(self.tokens(images)))
        scores = self.loss.scale * vectors @ self.vectors_of_classes().T
        if mode == 'tensor':
            return scores
        if not 0 <= int(labels.min()) <= int(labels.max()) < len(self.names):
            raise ValueError(
                f'Labels are {int(labels.min())} to {int(labels.max())}, but there are {len(self.names)} names: give '
                'model.classes a name for each class folder, in their order, and set with_labels=True in the data set.'
            )
        return [dict(pred_score=score, gt_label=label) for score, label in zip(scores.softmax(dim=-1), labels[:, None])]
