"""A backbone for configs of mmpretrain: one vector for each image."""

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.backbones.downstream import DownstreamBackbone

FEATURES = ('class', 'mean', 'class+mean')


class TimmFeatureVector(DownstreamBackbone):
    """One vector for each image, for any head of mmpretrain.

    In a config of mmpretrain that imports nothing of ours::

        backbone=dict(type='dino_plugin.TimmFeatureVector', checkpoint='epoch_100.pth', frozen=True)

    Args:
        features: `class`: the class token (or timm's pooled vector, for networks without one). `mean`: the mean of the
            patches. `class+mean`: both, concatenated without normalisation, which k-NN's `class+mean` has.
        last_blocks: Concatenate the class tokens of this many last blocks, each after the last normalisation; the mean
            is that of the last block. DINO's linear probe takes 4 of ViT-S, and `class+mean` of 1 of ViT-B.
        frozen: Do not train: no gradients, and the network stays in evaluation mode.
        **backbone: Arguments of `TimmBackbone`: `model_name`, `checkpoint`, `pretrained`, `drop_path_rate`…

    Raises:
        ValueError: For another word in `features`, more blocks than the network has (a convolutional network has 1),
            or as in `TimmBackbone`.

    References:
        Caron et al. 2021, arXiv:2104.14294, appendix F.2; Oquab et al. 2023, arXiv:2304.07193, section 7.1.
    """

    def __init__(self, features: str = 'class', last_blocks: int = 1, frozen: bool = False, **backbone) -> None:
        super().__init__(frozen, **backbone)
        if features not in FEATURES:
            raise ValueError(f'TimmFeatureVector: features must be one of {FEATURES}, got {features!r}.')
        self.backbone.check_last_blocks(last_blocks)
        self.features = features
        self.last_blocks = last_blocks

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Width of the vector; a tuple, as in mmpretrain."""
        class_tokens, means = 'class' in self.features, 'mean' in self.features
        return (self.backbone.embed_dim * (class_tokens * self.last_blocks + means),)

    def forward(self, images: Float[Tensor, 'batch channels rows columns']) -> tuple[Float[Tensor, 'batch dim']]:
        """The vectors of the images."""
        *earlier, last = self.backbone.last_blocks(images, self.last_blocks)
        vectors = [tokens.class_token for tokens in (*earlier, last)] if 'class' in self.features else []
        if 'mean' in self.features:
            vectors.append(last.patches.mean(dim=(1, 2)))
        return (torch.cat(vectors, dim=-1),)
