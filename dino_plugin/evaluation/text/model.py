"""Training of the text tower, and of the blocks on the frozen backbone, as a model of mmengine."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from dino_plugin.evaluation.text.towers import ImageTextTowers, unit


class ImageTextModel(ImageTextTowers):
    """Images and their captions -> a contrastive loss; in a test, their vectors for `ImageTextRetrievalMetric`.

    Args:
        **towers: As in `ImageTextTowers`.
    """

    def forward(
        self,
        images: Float[Tensor, 'images channels rows columns'],
        captions: Sequence[Sequence[str]] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """The loss of images with one caption each in mode 'loss'; their vectors in mode 'tensor'.

        In mode 'predict', for each image a dict with its vector, ``image``, those of its captions, ``texts``, both
        normalised, and the number of captions that were cut off, ``truncated``.

        Raises:
            ValueError: In mode 'loss', if an image has several captions.
        """
        if mode == 'loss':
            self.loss.limit_scale()
        tokens = self.tokens(images)
        vectors = self.vision.vectors(tokens)
        if mode == 'tensor':
            return vectors
        flat = [caption for of_image in captions for caption in of_image]
        if mode == 'loss' and len(flat) != len(images):
            raise ValueError(
                f'{len(images)} images with {len(flat)} captions: training takes one of each, PackCaptions(draw_one='
                'True) as the last step of the pipeline.'
            )
        texts, truncated = self.encode(flat)
        if mode == 'loss':
            # Names without 'loss': mmengine shows them and does not add them.
            shown = dict(scale=self.loss.scale.detach(), truncated=truncated.float().mean())
            return dict(loss=self.loss(vectors, texts), **shown)
        counts = [len(of_image) for of_image in captions]
        parts = zip(unit(vectors), unit(texts).split(counts), truncated.split(counts))
        return [dict(image=image, texts=own, truncated=int(cut.sum())) for image, own, cut in parts]
