"""Building the timm network: its name and arguments, from the config or a file, and the model itself."""

import timm
from torch import nn

ROTARY_AUGMENTATIONS = {'rope_shift_coords', 'rope_jitter_coords', 'rope_rescale_coords'}


def described(description: dict | None, checkpoint: str | None, timm_arguments: dict) -> tuple[str, dict]:
    """Name and arguments of the network in a file; the given arguments take precedence.

    Raises:
        ValueError: If there is no file, or it does not describe its network.
    """
    if description is None:
        given = (
            f'{checkpoint} does not say which network it holds. Name it'
            if checkpoint
            else 'there is no checkpoint. Give one (--cfg-options model.backbone.checkpoint=FILE), or name the network'
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
    try:  # transformers accept any image size only with this argument
        model = timm.create_model(model_name, pretrained, num_classes=0, **{'dynamic_img_size': True, **arguments})
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        model = timm.create_model(model_name, pretrained, num_classes=0, **arguments)
    _augment_rotary_positions(model, {key: timm_arguments[key] for key in ROTARY_AUGMENTATIONS & timm_arguments.keys()})
    return model


def _augment_rotary_positions(model: nn.Module, augmentations: dict[str, float | None]) -> None:
    """Sets the augmentations of rotary positions; older versions of timm do not take them as arguments."""
    rope = getattr(model, 'rope', None)
    if augmentations and not hasattr(rope, 'aug_active'):
        raise ValueError(
            f"TimmBackbone: {sorted(augmentations)} augment DINOv3's rotary positions, which "
            f'{type(model).__name__} does not have; leave them out.'
        )
    for key, value in augmentations.items():
        setattr(rope, key.removeprefix('rope_'), value)
    if augmentations:
        parts = (rope.shift_coords, rope.jitter_coords, rope.rescale_coords)
        rope.aug_active = any(part is not None for part in parts)
