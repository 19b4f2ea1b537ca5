"""A frozen backbone with its trained blocks, and a text tower: vectors of images, patches and texts."""

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.core.kept_outputs import KeptOutputs
from dino_plugin.core.views import Tokens
from dino_plugin.data.images.image_files import first
from dino_plugin.evaluation.text.caption_batches import CaptionPreprocessor
from dino_plugin.evaluation.text.class_names import Template, filled
from dino_plugin.evaluation.text.contrastive import ContrastiveLoss
from dino_plugin.evaluation.text.tokenizer import CONTEXT, Tokenizer, open_clip
from dino_plugin.evaluation.text.vision_head import VisionHead
from dino_plugin.registry import MODELS

PROMPTS = 256  # sentences at a time


class ImageTextTowers(BaseModel):
    """Images and texts -> vectors in one space. The backbone stays as it is; a text tower learns from scratch.

    The text tower is `open_clip.transformer.TextTransformer`: causal, with the vector at the end of the text, and a
    linear layer to the width of the image's vector.

    Args:
        backbone: Config of a backbone; nothing of it learns.
        vision: Arguments of `VisionHead`.
        text: Arguments of the text tower: ``width``, ``heads``, ``layers``, ``context_length``, …
        loss: Arguments of `ContrastiveLoss`.
        keep: Tokens of up to so many images are computed once, see `KeptOutputs`: for few images without random crops
            or colours.
        data_preprocessor: Config; by default `CaptionPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ImportError: If `open_clip_torch` is not installed.
        ValueError: As `VisionHead`, `ContrastiveLoss` and `Tokenizer`.

    References:
        Jose et al. 2024, arXiv:2412.16334 (dino.txt); Zhai et al. 2022, arXiv:2111.07991 (LiT).
    """

    def __init__(
        self,
        backbone: dict,
        vision: dict | None = None,
        text: dict | None = None,
        loss: dict | None = None,
        keep: int = 0,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.CaptionPreprocessor'))
        # Plain values for the checkpoint, from which `tools/test.py` and `tools/prompt.py` build the towers again.
        self.arguments = {name: dict(value or {}) for name, value in dict(vision=vision, text=text, loss=loss).items()}
        if isinstance(self.data_preprocessor, CaptionPreprocessor):
            colours = {name: getattr(self.data_preprocessor, name).tolist() for name in ('mean', 'std')}
            self.arguments['data_preprocessor'] = dict(type='dino_plugin.CaptionPreprocessor', **colours)
        tower = self.arguments['text']
        self.tokenizer = Tokenizer(tower.get('context_length', CONTEXT))
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        self.vision = VisionHead(self.backbone.embed_dim, **self.arguments['vision'])
        self.text = open_clip().transformer.TextTransformer(
            vocab_size=self.tokenizer.vocab_size, output_dim=self.vision.out_dim, **tower
        )
        self.loss = ContrastiveLoss(**self.arguments['loss'])
        self._kept = KeptOutputs(keep) if keep else None

    def parts_to_shard(self) -> list[nn.Module]:
        """The networks and the loss, for `FullyShard`; a backbone whose tokens are kept stays whole.

        Each process asks it then for other numbers of images, and gathering needs all processes.
        """
        return [self.vision, self.text, self.loss, *([] if self._kept else [self.backbone])]

    def tokens(self, images: Tensor) -> Tokens:
        """Class token and patches in the space of texts; the backbone is never in training mode."""
        with torch.no_grad(), evaluation_mode(self.backbone):
            tokens = self.backbone(images) if self._kept is None else Tokens(*self._kept(self.backbone, images))
        return self.vision(tokens)

    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, 'texts dim'], Tensor]:
        """Vectors of texts, of any length, and whose end was cut off."""
        tokens, truncated = self.tokenizer(texts)
        device = self.text.positional_embedding.device
        return self.text(tokens.to(device, non_blocking=True)), truncated

    @torch.no_grad()
    def class_vectors(
        self, names: Sequence[str], templates: Sequence[Template], part: slice = slice(None)
    ) -> Float[Tensor, 'classes dim']:
        """For each name the mean of its sentences, each normalised before and the mean after.

        Args:
            names: Of classes, or any texts.
            templates: See `templates_of`.
            part: Features of the vectors; `vision.patch_part` is compared with patches.
        """
        sentences = [filled(template, name) for name in names for template in templates]
        batches = [sentences[start : start + PROMPTS] for start in range(0, len(sentences), PROMPTS)]
        of_batches, truncated = zip(*(self.encode(batch) for batch in batches))
        if cut := [text for text, cut_off in zip(sentences, torch.cat(truncated).tolist()) if cut_off]:
            limit = self.tokenizer.context_length - 2
            print_log(
                f'{len(cut)} of {len(sentences)} texts have more than {limit} tokens, and what follows is cut off: '
                f'{first(cut, 2)}. Texts that differ there alone are the same.',
                logger='current',
                level=logging.WARNING,
            )
        vectors = torch.cat([unit(of_batch[:, part]) for of_batch in of_batches])
        return unit(vectors.unflatten(0, (len(names), len(templates))).mean(dim=1))


def unit(vectors: Float[Tensor, '*shape dim']) -> Float[Tensor, '*shape dim']:
    """Of length 1, in float32."""
    return normalize(vectors.float(), dim=-1)
