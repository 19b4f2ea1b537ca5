"""--backbone and --init: another network in a config, with everything that depends on it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from dino_plugin.backbones.creation import ROTARY_AUGMENTATIONS, create, form_of
from dino_plugin.backbones.position_rule import has_learnt_positions
from dino_plugin.backbones.tokens import patch_size_of
from dino_plugin.commands.command_line import fail, tell
from dino_plugin.commands.few_images import nested

# Arguments that say which network it is. All others belong to the recipe, and stay where the new network takes them.
_SHAPE = (
    'patch_size', 'img_size', 'embed_dim', 'depth', 'num_heads', 'mlp_ratio', 'weight_init', 'reg_tokens',
    'num_reg_tokens',
)  # fmt: skip
_OURS = (
    'type', 'model_name', 'pretrained', 'checkpoint', 'checkpoint_source', 'allow_mismatch', 'gradient_checkpointing',
    'subset_drop_path', 'mask_token', 'local_norm', 'compile_blocks', 'pack_views', 'position_resampling', 'token_std',
    'lora',
    'out_indices', 'frozen', 'class_token', 'features', 'last_blocks', 'average_pool',
)  # fmt: skip
_SIZES = ('global_size', 'local_size', 'anchor_size', 'global_crop_size', 'local_crop_size')  # MultiCrop's, Lightly's
PLACE = 'model.backbone'


def use_backbone(
    cfg: Config, name: str, options: Mapping[str, Any], arguments: Mapping[str, Any] | None = None
) -> None:
    """Put the network of this name into a config.

    Arguments of the old network are removed, those of the recipe stay if the new one takes them. In pretraining, the
    size of patches in the collate function follows, views become whole patches, and learnt positions get the grid of
    the global views. Heads and decoders take their widths from the network themselves.

    Args:
        cfg: Changed in place.
        name: As timm calls the network.
        options: Of the command line, by their dotted names; they stay.
        arguments: Further arguments for timm.

    Raises:
        ValueError: If timm does not know the name.
        SystemExit: If the backbone of the config is not one of ours.
    """
    backbone = cfg.model.get('backbone') or {}
    if not str(backbone.get('type')).startswith('dino_plugin.Timm'):
        fail(f'--backbone: the network of this config is no dino_plugin.TimmBackbone but {backbone.get("type")}.')
    for key in _SHAPE:
        if f'{PLACE}.{key}' not in options:
            backbone.pop(key, None)
    backbone.update(arguments or {}, model_name=name)
    dropped = _drop_what_it_lacks(backbone)
    network = _without_weights(backbone)
    if dropped:
        tell(f'{name} takes no {", ".join(dropped)}: left out of the recipe.')
    if cfg.model.type == 'dino_plugin.SelfDistillationModel':
        _fit_views(cfg, network, options)


def init_backbone(cfg: Config, weights: str, named: bool, options: Mapping[str, Any]) -> None:
    """Start the backbone from a file, or from timm's released weights.

    Without ``--backbone``, a file that describes another network than the config brings its network.

    Args:
        cfg: Changed in place.
        weights: A file, an address, or 'pretrained'.
        named: Whether ``--backbone`` is given, too.
        options: Of the command line, by their dotted names; they stay.

    Raises:
        ValueError: If the file cannot be read.
        SystemExit: If the config names no network whose weights timm could have, or starts from an earlier stage.
    """
    backbone = cfg.model.get('backbone') or {}
    if cfg.model.get('checkpoint') and weights == 'pretrained':
        fail('--init pretrained: this recipe goes on from a training of the stage before it: --init FILE.')
    if cfg.model.get('checkpoint'):
        cfg.model.checkpoint = weights
        return
    if not str(backbone.get('type')).startswith('dino_plugin.Timm'):
        fail(f'--init: the network of this config is no dino_plugin.TimmBackbone but {backbone.get("type")}.')
    if weights == 'pretrained':
        if not backbone.get('model_name'):
            fail('--init pretrained: of which network? Name it as timm does: --backbone vit_small_patch14_dinov2')
        backbone.update(checkpoint=None, pretrained=True)
        return
    backbone.update(checkpoint=weights, pretrained=False)
    if backbone.get('model_name') and not named and f'{PLACE}.model_name' not in options:
        _use_network_of(cfg, weights, options)


def _use_network_of(cfg: Config, weights: str, options: Mapping[str, Any]) -> None:
    """The network that a file describes, unless the config has it already."""
    from dino_plugin.weights.checkpoint import backbone_description
    from dino_plugin.weights.safe_loading import load_checkpoint

    description = backbone_description(load_checkpoint(weights), weights)
    if description is None:
        return
    arguments = {key: value for key, value in description['timm_arguments'].items() if key in _SHAPE}
    backbone = cfg.model.backbone
    same = description['model_name'] == backbone.model_name and all(
        arguments.get(key) == backbone.get(key) for key in _SHAPE if key != 'img_size'
    )
    if not same:
        use_backbone(cfg, description['model_name'], options, arguments)


def _drop_what_it_lacks(backbone: ConfigDict) -> list[str]:
    """Remove what the new network does not take; returns what it was."""
    dropped = []
    while True:
        try:
            network = _without_weights(backbone)
            break
        except TypeError as error:
            unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if unknown is None or unknown[1] not in backbone:
                raise
            dropped.append(unknown[1])
            del backbone[unknown[1]]
    if getattr(network, 'cls_token', None) is None:
        dropped += ['token_std'] if backbone.pop('token_std', None) is not None else []
    if not has_learnt_positions(network):
        dropped += ['position_resampling'] if backbone.pop('position_resampling', None) else []
    if not hasattr(getattr(network, 'rope', None), 'aug_active'):
        dropped += [key for key in sorted(ROTARY_AUGMENTATIONS) if backbone.pop(key, None) is not None]
    return dropped


def _without_weights(backbone: ConfigDict) -> nn.Module:
    """timm's network, of which only the form is made."""
    import timm

    name = backbone.model_name
    if not timm.is_model(name):
        create(name, False, {})  # which says what timm has
    return form_of(name, {key: value for key, value in backbone.items() if key not in _OURS})


def _fit_views(cfg: Config, network: nn.Module, options: Mapping[str, Any]) -> None:
    """Masks and sizes of views for the patches of the network, and its learnt positions for the global views."""
    patch = patch_size_of(network)
    loader, largest = cfg.train_dataloader, 0
    if patch is None:
        return
    if 'patch_size' in loader.get('collate_fn', {}):
        loader.collate_fn.patch_size = patch[0]
    for transform in _view_makers(loader.dataset):
        for key in _SIZES:
            size = transform.get(key)
            if isinstance(size, int):
                transform[key] = max(1, round(size / patch[0])) * patch[0]
                largest = max(largest, transform[key] if key.startswith('global') else 0)
    if has_learnt_positions(network) and largest and f'{PLACE}.img_size' not in options:
        cfg.model.backbone.img_size = largest


def _view_makers(dataset: ConfigDict) -> Iterator[ConfigDict]:
    for part in nested(dataset):
        if any(key in part for key in _SIZES):
            yield part
