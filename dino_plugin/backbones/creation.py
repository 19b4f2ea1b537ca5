"""Which network: its name and arguments from a file, timm's model from those, and what its tokens are."""

from typing import Any

import timm
from timm.layers import to_2tuple
from torch import nn

UNUSED = (nn.Identity, type(None))
ROTARY_AUGMENTATIONS = {'rope_shift_coords', 'rope_jitter_coords', 'rope_rescale_coords'}


def described(description: dict | None, checkpoint: str | None, timm_arguments: dict) -> tuple[str, dict]:
    """Name and arguments of the network in a file; the given arguments win.

    Raises:
        ValueError: If there is no file, or it does not say.
    """
    if description is None:
        given = (
            f'{checkpoint} does not say which network it holds. Name it'
            if checkpoint
            else 'neither is there a checkpoint. Give one (--cfg-options model.backbone.checkpoint=FILE), or name it'
        )
        raise ValueError(
            f'TimmBackbone: no model_name is given, and {given} as timm does, for example '
            "model_name='vit_small_patch16_224' (--cfg-options model.backbone.model_name=vit_small_patch16_224)."
        )
    arguments = {key: value for key, value in description['timm_arguments'].items() if key != 'num_classes'}
    return description['model_name'], {**arguments, **timm_arguments}


def create(model_name: str, pretrained: bool, timm_arguments: dict) -> nn.Module:
    """timm's model without a classifier, for images of any size.

    Raises:
        ValueError: If timm does not know the name.
    """
    if not timm.is_model(model_name):
        similar = timm.list_models(f'*{model_name.split("_")[0]}*')[:5]
        raise ValueError(f'TimmBackbone: timm has no model {model_name!r}; similar names: {similar}.')
    arguments = {key: value for key, value in timm_arguments.items() if key not in ROTARY_AUGMENTATIONS}
    try:  # transformers accept any image size only if asked to
        model = timm.create_model(model_name, pretrained, num_classes=0, **{'dynamic_img_size': True, **arguments})
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        model = timm.create_model(model_name, pretrained, num_classes=0, **arguments)
    _augment_rotary_positions(model, {key: timm_arguments[key] for key in ROTARY_AUGMENTATIONS & timm_arguments.keys()})
    return model


def _augment_rotary_positions(model: nn.Module, augmentations: dict[str, float | None]) -> None:
    """Sets on timm's rotary positions what only newer versions of timm take as arguments of the network."""
    rope = getattr(model, 'rope', None)
    if augmentations and not hasattr(rope, 'aug_active'):
        raise ValueError(
            f"TimmBackbone: {sorted(augmentations)} move the coordinates of DINOv3's rotary positions, which "
            f'{type(model).__name__} does not have; leave them out.'
        )
    for key, value in augmentations.items():
        setattr(rope, key.removeprefix('rope_'), value)
    if augmentations:
        parts = (rope.shift_coords, rope.jitter_coords, rope.rescale_coords)
        rope.aug_active = any(part is not None for part in parts)


def pixels_of_a_token(model: nn.Module) -> tuple[int, int] | None:
    """Rows and columns of the image that become one token; None for networks that give a feature map."""
    if not hasattr(model, 'num_prefix_tokens'):
        return None
    embed: Any = model.patch_embed
    # Behind a convolutional stem, timm's patch_size counts cells of the stem's output.
    return to_2tuple(embed.feat_ratio(as_scalar=False) if hasattr(embed, 'feat_ratio') else embed.patch_size)


def averages_patches(model: nn.Module) -> bool:
    """Whether a transformer's vector for the image is the mean of its patches instead of a class token.

    timm then normalises after the mean instead of before.
    """
    return model.num_prefix_tokens == 0 or not isinstance(getattr(model, 'fc_norm', None), UNUSED)
