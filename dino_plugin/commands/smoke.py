"""``--smoke``: any training config in minutes on a CPU, to see the whole road before GPUs are paid for."""

import os
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from dino_plugin.commands.everyday_options import apply_train_options
from dino_plugin.commands.few_images import SCORECARD_HOOKS, loaders_of, nested, take_few_images

IMAGES, BATCH, EPOCHS, STEPS, WORKERS = 64, 8, 2, 16, 2
SIDE, PATCH = 32, 8
NETWORK = dict(img_size=SIDE, patch_size=PATCH, embed_dim=32, depth=4, num_heads=2)
SIDE_OF_A_GIVEN_NETWORK = 112  # a multiple of patches of 14 and 16 px


def smoke(cfg: Config, args: Namespace, options: dict | None = None) -> str:
    """Makes a training config small, in place; the numbers that the user gives win.

    Args:
        cfg: The config with the images of the user and a ``work_dir``.
        args: Of tools/train.py: ``epochs``, ``batch_size`` and ``num_workers`` are read.
        options: Of ``--cfg-options``, by their dotted names. No weights are downloaded, whatever they say.

    Returns:
        A line that says what was made small.

    Raises:
        ValueError: If the config trains nothing, or needs mmdetection, which is not installed.
        FileNotFoundError: If there are no images.
    """
    given = bool(cfg.model.get('backbone', {}).get('checkpoint'))
    shrink(cfg)
    numbers = {name: getattr(args, name, None) for name in ('epochs', 'batch_size', 'num_workers')}
    options = {name: value for name, value in (options or {}).items() if not name.endswith('.pretrained')}
    apply_train_options(cfg, Namespace(config=args.config, **numbers), options)
    images = max(IMAGES, 2 * cfg.train_dataloader.batch_size)
    take_few_images(cfg, images)
    network = 'the given network' if given else 'a tiny network'
    steps, epochs = cfg.train_cfg.get('max_iters'), cfg.train_cfg.get('max_epochs')
    length = f'{steps} steps' if steps else '1 epoch' if epochs == 1 else f'{epochs} epochs'
    return (
        f'--smoke: {network}, small views, batches of {cfg.train_dataloader.batch_size}, {length}, at most {images} '
        'images of each set. It shows that everything runs; the result is not worth keeping.'
    )


def shrink(cfg: Config, batch_size: int = BATCH, steps: int = STEPS, epochs: int = EPOCHS) -> None:
    """The same recipe with a network, views and a length that a CPU does in minutes.

    Losses, heads, hooks, transforms, samplers and loops stay what they are, and so does a network that comes from a
    checkpoint.

    Args:
        cfg: A config that trains; changed in place.
        batch_size: Images of a batch.
        steps: Length, if the config counts iterations.
        epochs: Length, if it counts epochs.

    Raises:
        ValueError: If the config trains nothing, or needs mmdetection, which is not installed.
    """
    if not (cfg.get('train_dataloader') and cfg.get('train_cfg')):
        raise ValueError('--smoke is for configs that train, and this one has no train_dataloader: use tools/test.py.')
    if cfg.get('default_scope') == 'mmdet' and find_spec('mmdet') is None:
        raise ValueError('--smoke cannot run this config: mmdetection, which it needs, is not installed.')
    given = bool(cfg.model.backbone.get('checkpoint'))
    side = SIDE_OF_A_GIVEN_NETWORK if given else SIDE
    if not given:
        _shrink_network(cfg.model.backbone)
    for loader in loaders_of(cfg):
        loader.num_workers = min(loader.get('num_workers', 0), WORKERS)
        loader['persistent_workers'] = loader.num_workers > 0
        for dataset in nested(loader.dataset):
            for number, transforms in enumerate(dataset.get('pipelines') or [dataset.get('pipeline')]):
                for transform in nested(transforms or dataset.get('transform')):
                    _shrink_transform(transform, side + PATCH * number)
    loader = cfg.train_dataloader
    loader.batch_size = batch_size
    if 'batch_size' in loader.sampler:
        loader.sampler.batch_size = batch_size
    if 'patch_size' in loader.get('collate_fn', {}):
        loader.collate_fn.min_patches = 2
        if not given:
            loader.collate_fn.patch_size = PATCH
    for hook in cfg.get('custom_hooks') or []:
        if str(hook.type).endswith(SCORECARD_HOOKS):
            hook.update(image_size=side, short_side=2 * side, limit=IMAGES)
    _shrink_model(cfg, side)
    _shorten(cfg, steps, epochs)


def _shrink_network(backbone: ConfigDict) -> None:
    """Few narrow blocks of the same kind: positions, registers, SwiGLU and LayerScale stay."""
    if backbone.type != 'dino_plugin.FeatureMapBackbone':
        _shrink_timm_network(backbone)


def _shrink_timm_network(backbone: ConfigDict) -> None:
    backbone.pretrained = False
    name = backbone.setdefault('model_name', 'vit_small_patch16_224')
    if name.startswith('vit') or backbone.get('mask_token'):
        backbone.update(NETWORK, compile_blocks=False)
        if not name.startswith('vit'):
            backbone.model_name = 'vit_tiny_patch16_224'
        if '_r_' in name:  # a convolutional stem of stride 4 before the patches
            backbone.patch_size = PATCH // 4
    else:
        backbone.model_name = 'resnet10t'


def _shrink_model(cfg: Config, side: int) -> None:
    model = cfg.model
    for head in model.get('heads', {}).values():
        if head.type == 'dino_plugin.DINOHead':
            head.update(prototypes=64, hidden_dim=32, bottleneck_dim=16)
    for loss in model.get('losses', {}).values():
        if loss.get('group_size'):
            loss.group_size = 2
        if 'teacher' in loss and not Path(loss.teacher.get('checkpoint') or '').is_file():
            loss.teacher.pop('checkpoint', None)
            _shrink_network(loss.teacher)
            loss.pop('image_size', None)
    model.pop('checkpoint', None)  # of the stage before
    if 'frozen_teacher' in model:
        model.frozen_teacher.heads = model.heads
        model.frozen_teacher.checkpoint = _untrained(model, Path(cfg.work_dir))
    if model.get('data_preprocessor', {}).get('size'):
        model.data_preprocessor.size = (side, side)
    if model.get('test_cfg', {}).get('mode') == 'slide':
        model.test_cfg.update(crop_size=(side, side), stride=(side // 2, side // 2))
    if model.get('decode_head', {}).get('type') == 'UPerHead':
        model.decode_head.channels = 16


def _untrained(model: ConfigDict, folder: Path) -> str:
    """In place of the frozen teacher's checkpoint, one of the same small network before its first step."""
    file = folder / f'untrained_frozen_teacher_{os.environ.get("RANK", 0)}.pth'  # each process has its own
    built = MODELS.build({key: value for key, value in model.items() if key != 'frozen_teacher'})
    meta = dict(backbone=built.distillation.teacher.backbone.description)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=built.state_dict(), meta=meta), file)
    return str(file)


def _shrink_transform(transform: dict, side: int) -> None:
    local = side // (2 * PATCH) * PATCH
    sizes = dict(
        global_size=side, local_size=local, anchor_size=2 * side,  # MultiCrop
        global_crop_size=side, local_crop_size=local,  # Lightly
        resize=side * 8 // 7, crop=side, size=side, scale=side, crop_size=side,
    )  # fmt: skip
    for name, size in sizes.items():
        old = transform.get(name)
        if isinstance(old, int):
            transform[name] = size
        elif isinstance(old, (tuple, list)) and all(isinstance(number, int) for number in old):
            transform[name] = (size, size) if name == 'crop_size' else (4 * size, 2 * size)
    for name in ('num_local', 'n_local_views'):
        if name in transform:
            transform[name] = min(transform[name], 2)


def _shorten(cfg: Config, steps: int, epochs: int) -> None:
    counts_steps = 'max_iters' in cfg.train_cfg
    old, new = (cfg.train_cfg.max_iters, steps) if counts_steps else (cfg.train_cfg.max_epochs, epochs)
    cfg.train_cfg['max_iters' if counts_steps else 'max_epochs'] = new
    if 'val_interval' in cfg.train_cfg:
        cfg.train_cfg.val_interval = new if counts_steps else 1
    for scheduler in cfg.get('param_scheduler') or []:
        if 'begin' in scheduler:  # before its end, also in a training of one epoch
            scheduler.begin = min(-(-scheduler.begin * new // old), new - 1)
        for name in ('end', 'T_max'):
            if name in scheduler:
                scheduler[name] = min(-(-scheduler[name] * new // old), new)
    for hook in [*cfg.get('default_hooks', {}).values(), *(cfg.get('custom_hooks') or [])]:
        if 'interval' in hook:
            hook.interval = min(hook.interval, max(1, steps // 4))
