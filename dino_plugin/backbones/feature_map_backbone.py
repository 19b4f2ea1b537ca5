"""Any network with feature maps as a backbone: images -> ``Tokens``."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.backbones.tokens import channels_of, with_leading_of
from dino_plugin.core.views import ClassTokenOnly, Tokens
from dino_plugin.weights.checkpoint import own_tensors
from dino_plugin.weights.safe_loading import load_checkpoint


class FeatureMapBackbone(nn.Module):
    """A network that is not from timm: its feature map as patches, the mean of that map as class token.

    The network gives a map ``batch channels rows columns``, or several of them in a list, tuple or dict, as the
    backbones of detectors do. In a config it is a config, too::

        backbone=dict(type='dino_plugin.FeatureMapBackbone', output=-1,
                      network=dict(type='mmdet.CSPDarknet', out_indices=(2, 3, 4)))
        backbone=dict(type='dino_plugin.FeatureMapBackbone',
                      network=dict(type='my_package.my_module.MyBackbone', width=64))

    A network that gives vectors ``batch channels`` has no patches. Checkpoints and exports (``--format own``) hold the
    network under its own key names.

    Args:
        network: The network, with its initial weights.
        output: Which of several maps: a position, or the key of a dict.
        checkpoint: Start from this file: the network's own state dict, an export, or a training checkpoint.
        checkpoint_source: Which network of a training checkpoint: 'teacher' or 'student'.

    Raises:
        TypeError: If the network gives anything else.
        ValueError: If ``output`` does not exist, the file does not fit, or, from ``forward``, there are masks.
    """

    patch_size = None  # a map, whose cells are no patches cut from the image

    def __init__(
        self,
        network: nn.Module,
        output: int | str = -1,
        checkpoint: str | None = None,
        checkpoint_source: str = 'teacher',
    ) -> None:
        super().__init__()
        self.model = network
        self.output = output
        if checkpoint is not None:
            self._load(checkpoint, checkpoint_source)
        self.in_channels: int = channels_of(network)
        self.description = {'module': f'{type(network).__module__}.{type(network).__qualname__}'}
        training = network.training
        with torch.no_grad():
            image = next(network.parameters()).new_zeros(1, self.in_channels, 64, 64)
            self.embed_dim: int = self._chosen(network.eval()(image)).shape[1]
        network.train(training)

    def forward(
        self,
        images: Float[Tensor, '*leading channels rows columns'],
        masks: Tensor | None = None,
        local: bool = False,
        patches: bool = True,
    ) -> Tokens:
        """Tokens of images with any leading axes; ``local`` and ``patches`` change nothing."""
        if masks is not None:
            raise ValueError('FeatureMapBackbone: there is no mask token for masked patches; use multi_crop_collate.')
        features = self._chosen(self.model(images.reshape(-1, *images.shape[-3:])))
        if features.ndim == 2:
            return ClassTokenOnly(with_leading_of(images, features), None)
        grid = features.movedim(1, -1)
        return Tokens(with_leading_of(images, features.mean((2, 3))), with_leading_of(images, grid))

    def _chosen(self, output: Any) -> Tensor:
        several = isinstance(output, Mapping | Sequence)
        if isinstance(output, Mapping) and isinstance(self.output, int):
            output = list(output.values())
        try:
            chosen = output[self.output] if several else output
        except (KeyError, IndexError, TypeError):
            names = list(output) if isinstance(output, Mapping) else f'positions below {len(output)}'
            raise ValueError(f'FeatureMapBackbone: output={self.output!r} is none of the outputs: {names}.') from None
        if not isinstance(chosen, Tensor) or chosen.ndim not in (2, 4):
            found = tuple(chosen.shape) if isinstance(chosen, Tensor) else type(chosen).__name__
            raise TypeError(
                f'FeatureMapBackbone: {type(self.model).__name__} gives {found}; expected a map (batch, channels, '
                'rows, columns), or several in a list, tuple or dict.'
            )
        return chosen

    def _load(self, path: str, source: str) -> None:
        try:
            self.model.load_state_dict(own_tensors(load_checkpoint(path), source, self.model.state_dict().keys()))
        except RuntimeError as error:
            raise ValueError(f'{path} does not fit {type(self.model).__name__}.\n{error}') from error
