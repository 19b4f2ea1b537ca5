"""Any timm network as a backbone: images -> Tokens."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import timm
import torch
from jaxtyping import Bool, Float
from timm.layers import to_2tuple
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.functional import pad

from dino_plugin.checkpoint import backbone_description, backbone_state, load_backbone, load_checkpoint
from dino_plugin.core.views import Tokens

# timm normalises after pooling instead of before where a network was made to average its patches
UNUSED = (nn.Identity, type(None))


class TimmBackbone(nn.Module):
    """A timm network without its classifier.

    Vision transformers (learned positions, registers, rotary positions) give their normalised class token and patch
    tokens; networks that average their patches give timm's pooled vector instead. Convolutional networks give their
    feature map as patches and its pooled form as class token. Transformers are built for any image size; heights and
    widths that are no multiple of the patch are padded at the bottom and right with zeros, which is the mean colour
    after normalisation.

    ``patch_size`` is the number of pixels, rows and columns, of one token; None for convolutional networks.

    Args:
        model_name: A name from ``timm.list_models()``. None: the name and the arguments that ``checkpoint`` says of
            itself; ``timm_arguments`` win over those.
        pretrained: Start from timm's released weights (downloads them).
        checkpoint: Start from this file: a training checkpoint of this package, an exported backbone, or the authors'
            own. The number of loaded, missing and unexpected keys is logged.
        checkpoint_source: Which network of a training checkpoint: 'teacher' or 'student'.
        allow_mismatch: Accept missing and unexpected keys of ``checkpoint``.
        gradient_checkpointing: Recompute activations in the backward pass: less memory, about a third more time.
        mask_token: Learn an embedding that stands in for hidden patches, which recipes with masks need. It starts at
            zero, and takes a patch's place before its position is added.
        local_norm: Normalise class token and registers of local views by a layer of their own (DINOv3's largest
            network), which starts as a copy of the last normalisation and is not exported.
        compile_blocks: ``torch.compile`` each block (the whole network, where it has no ``blocks``) at first use.
        **timm_arguments: For ``timm.create_model``: ``drop_path_rate``, ``img_size``, ``patch_size``, ``in_chans``…

    Raises:
        ValueError: If timm does not know the name, nothing names the network, both sources of weights are given, or
            the checkpoint does not fit.
    """

    def __init__(
        self,
        model_name: str | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        checkpoint_source: str = 'teacher',
        allow_mismatch: bool = False,
        gradient_checkpointing: bool = False,
        mask_token: bool = False,
        local_norm: bool = False,
        compile_blocks: bool = False,
        **timm_arguments,
    ) -> None:
        super().__init__()
        if pretrained and checkpoint:
            raise ValueError(
                f'TimmBackbone: pretrained=True and checkpoint={checkpoint!r} are two sources of weights; give one.'
            )
        if model_name is None:
            model_name, timm_arguments = _described(checkpoint, timm_arguments)
        self.description = {'model_name': model_name, 'timm_arguments': dict(timm_arguments)}
        self.model = _create(model_name, pretrained, timm_arguments)
        self.embed_dim: int = self.model.num_features
        self.in_channels: int = next(weight.shape[1] for weight in self.model.parameters() if weight.ndim == 4)
        self.patch_size: tuple[int, int] | None = pixels_of_a_token(self.model)
        if mask_token and self.patch_size is None:
            raise ValueError(f'TimmBackbone: {model_name} has no patches that a mask token could stand in for.')
        self.mask_token = nn.Parameter(torch.zeros(1, self.embed_dim)) if mask_token else None
        if checkpoint:
            state = backbone_state(load_checkpoint(checkpoint), checkpoint_source)
            load_backbone(self.model, state, allow_mismatch, name=str(checkpoint))
        if gradient_checkpointing:
            self.model.set_grad_checkpointing(True)
        if local_norm and isinstance(getattr(self.model, 'norm', None), UNUSED):
            raise ValueError(f'TimmBackbone: {model_name} has no last normalisation of its tokens to be untied.')
        self.local_norm = copy.deepcopy(self.model.norm) if local_norm else None
        if compile_blocks:
            for block in getattr(self.model, 'blocks', [self.model]):
                block.compile()

    def forward(
        self,
        images: Float[Tensor, '*leading channels rows columns'],
        masks: Bool[Tensor, '*leading patch_rows patch_columns'] | None = None,
        local: bool = False,
    ) -> Tokens:
        """Tokens of images with any leading axes.

        Args:
            images: Normalised.
            masks: Where True, the network does not see the patch. Behind a convolutional stem, which looks over the
                edges of a patch, its neighbours still do.
            local: Whether these are local views, which ``local_norm`` treats apart.

        Raises:
            ValueError: If the images have another number of channels than the network, or there are masks and no mask
                token, or masks of another grid.
        """
        leading = images.shape[:-3]
        images = images.reshape(-1, *images.shape[-3:])
        if images.shape[1] != self.in_channels:
            raise ValueError(
                f'TimmBackbone: images of {images.shape[1]} channels for a network of {self.in_channels}; '
                f'build it with in_chans={images.shape[1]}.'
            )
        with self._hidden(images, masks), self._normalised_as(local):
            features = self._features(images)
        return Tokens(*(tokens.unflatten(0, leading) if leading else tokens[0] for tokens in features))

    def intermediates(
        self, images: Float[Tensor, 'batch channels rows columns'], layers: Sequence[int]
    ) -> list[Tokens]:
        """Tokens after some of the layers (blocks, or stages of a convolutional network).

        A transformer's last normalisation is applied to each, so that the last layer gives what ``forward`` gives.
        The class token of networks without one is the mean of the patches.

        Args:
            images: As ``forward`` takes them, without other leading axes.
            layers: Counted from 0, or from the end if negative; the result is in the order of the network.
        """
        if self.patch_size is None:
            maps = self.model.forward_intermediates(images, indices=list(layers), intermediates_only=True)
            return [Tokens(features.mean((2, 3)), features.permute(0, 2, 3, 1)) for features in maps]
        found = self.model.forward_intermediates(
            self._padded(images),
            indices=list(layers),
            norm=True,
            return_prefix_tokens=True,
            output_fmt='NLC',
            intermediates_only=True,
        )
        grid = self._grid(images)
        if self.model.num_prefix_tokens == 0:
            return [Tokens(patches.mean(1), patches.unflatten(1, grid)) for patches in found]
        return [Tokens(prefix[:, 0], patches.unflatten(1, grid)) for patches, prefix in found]

    def layer_depths(self) -> dict[str, int]:
        """Depth of each parameter, for layer-wise learning rates: 0 for the embedding, largest near the output.

        The groups are timm's (``group_matcher``): one for each block of a transformer, and for each block of a
        convolutional network's stages.
        """
        groups = group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)
        return {'mask_token': 0} | {f'model.{name}': depth for name, depth in groups.items()}

    @contextmanager
    def _normalised_as(self, local: bool) -> Iterator[None]:
        """Within this, the last normalisation of class token and registers is the one for this kind of views."""
        if not local or self.local_norm is None:
            yield
            return
        num_prefix = self.model.num_prefix_tokens

        def untie(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            return torch.cat([self.local_norm(inputs[0][:, :num_prefix]), output[:, num_prefix:]], dim=1)

        handle = self.model.norm.register_forward_hook(untie)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _hidden(self, images: Float[Tensor, 'batch channels rows columns'], masks: Tensor | None) -> Iterator[None]:
        """Within this, the mask token stands in for the embeddings of hidden patches."""
        if masks is None:
            yield
            return
        if self.mask_token is None:
            raise ValueError('TimmBackbone: the views have masks; build it with mask_token=True.')
        if masks.shape[-2:] != self._grid(images):
            raise ValueError(
                f'TimmBackbone: masks of {tuple(masks.shape[-2:])} patches for images of {self._grid(images)}; set '
                f'patch_size={self.patch_size} in collate_fn.'
            )

        def hide(module: nn.Module, inputs: tuple, embedding: Tensor) -> Tensor:
            hidden = masks.reshape(*embedding.shape[:-1], 1)  # timm's embedding keeps its grid, or not
            return torch.where(hidden, self.mask_token.to(embedding.dtype), embedding)

        handle = self.model.patch_embed.register_forward_hook(hide)
        try:
            yield
        finally:
            handle.remove()

    def _padded(self, images: Float[Tensor, 'batch channels rows columns']) -> Tensor:
        height, width = self.patch_size
        return pad(images, (0, -images.shape[3] % width, 0, -images.shape[2] % height))

    def _grid(self, images: Float[Tensor, 'batch channels rows columns']) -> tuple[int, int]:
        height, width = self.patch_size
        return -(-images.shape[2] // height), -(-images.shape[3] // width)

    def _features(self, images: Float[Tensor, 'batch channels rows columns']) -> Tokens:
        if self.patch_size is None:
            return self._map_features(images)
        tokens = self.model.forward_features(self._padded(images))
        patches = tokens[:, self.model.num_prefix_tokens :]
        pools = self.model.num_prefix_tokens == 0 or not isinstance(getattr(self.model, 'fc_norm', None), UNUSED)
        class_token = self.model.forward_head(tokens, pre_logits=True) if pools else tokens[:, 0]
        return Tokens(class_token, patches.unflatten(1, self._grid(images)))

    def _map_features(self, images: Float[Tensor, 'batch channels rows columns']) -> Tokens:
        features = self.model.forward_features(images)
        pooled = self.model.forward_head(features, pre_logits=True)
        rows_first = features if getattr(self.model, 'output_fmt', 'NCHW') == 'NHWC' else features.permute(0, 2, 3, 1)
        return Tokens(pooled, rows_first)


def _described(checkpoint: str | None, timm_arguments: dict) -> tuple[str, dict]:
    """Name and arguments of the network in a file."""
    description = backbone_description(checkpoint) if checkpoint else None
    if description is None:
        given = f'{checkpoint} does not say which network it holds' if checkpoint else 'neither is there a checkpoint'
        raise ValueError(
            f'TimmBackbone: no model_name is given, and {given}. Name it as timm does, for example '
            "model_name='vit_small_patch16_224' (--cfg-options model.backbone.model_name=vit_small_patch16_224)."
        )
    arguments = {key: value for key, value in description['timm_arguments'].items() if key != 'num_classes'}
    return description['model_name'], {**arguments, **timm_arguments}


def _create(model_name: str, pretrained: bool, timm_arguments: dict) -> nn.Module:
    if not timm.is_model(model_name):
        similar = timm.list_models(f'*{model_name.split("_")[0]}*')[:5]
        raise ValueError(f'TimmBackbone: timm has no model {model_name!r}; similar names: {similar}.')
    try:  # transformers accept any image size only if asked to
        return timm.create_model(model_name, pretrained, num_classes=0, **{'dynamic_img_size': True, **timm_arguments})
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        return timm.create_model(model_name, pretrained, num_classes=0, **timm_arguments)


def pixels_of_a_token(model: nn.Module) -> tuple[int, int] | None:
    """Rows and columns of the image that become one token; None for networks that give a feature map."""
    if not hasattr(model, 'num_prefix_tokens'):
        return None
    embed = model.patch_embed
    # Behind a convolutional stem, timm's patch_size counts cells of the stem's output.
    return to_2tuple(embed.feat_ratio(as_scalar=False) if hasattr(embed, 'feat_ratio') else embed.patch_size)
