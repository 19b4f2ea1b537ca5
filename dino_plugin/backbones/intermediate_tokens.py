"""Tokens from inside a network, for evaluators."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.backbones.tokens import grid_of
from dino_plugin.core.views import Tokens


class IntermediateTokens(nn.Module):
    """What `TimmBackbone` gives of earlier layers."""

    def intermediates(
        self, images: Float[Tensor, 'batch channels rows columns'], layers: Sequence[int], normalised: bool = True
    ) -> list[Tokens]:
        """Tokens after some layers (blocks, or stages of a convolutional network).

        A transformer's last normalisation is applied to each, so the last layer gives what ``forward`` gives. Networks
        without a class token give the mean of the patches in its place.

        Args:
            images: As for ``forward``, with one leading axis.
            layers: Counted from 0, or from the end if negative; the result is in the order of the network.
            normalised: False: tokens as the blocks give them, for transformers.
        """
        if self.patch_size is None:
            maps = self.model.forward_intermediates(images, indices=list(layers), intermediates_only=True)
            return [Tokens(features.mean((2, 3)), features.permute(0, 2, 3, 1)) for features in maps]
        found = self.model.forward_intermediates(
            self._prepared(images),
            indices=list(layers),
            norm=normalised,
            return_prefix_tokens=True,
            output_fmt='NLC',
            intermediates_only=True,
        )
        grid = grid_of(images, self.patch_size)
        if self.model.num_prefix_tokens == 0:
            return [Tokens(patches.mean(1), patches.unflatten(1, grid)) for patches in found]
        return [Tokens(prefix[:, 0], patches.unflatten(1, grid)) for patches, prefix in found]

    def last_blocks(self, images: Float[Tensor, 'batch channels rows columns'], number: int) -> list[Tokens]:
        """Tokens of the last blocks, in order; of the last one, ``forward`` gives them.

        Raises:
            ValueError: As in ``check_last_blocks``.
        """
        num_blocks = self.check_last_blocks(number)
        return [self(images)] if number == 1 else self.intermediates(images, range(num_blocks - number, num_blocks))

    def check_last_blocks(self, number: int) -> int:
        """The number of all blocks.

        Raises:
            ValueError: If the network has fewer; a convolutional network has 1.
        """
        num_blocks = 1 if self.patch_size is None else len(self.model.feature_info)
        if not 1 <= number <= num_blocks:
            raise ValueError(
                f'last_blocks={number} must be 1 to {num_blocks} with {self.description["model_name"]} (--cfg-options '
                'model.backbone.last_blocks=1, or model.last_blocks=1 for k-NN).'
            )
        return num_blocks
