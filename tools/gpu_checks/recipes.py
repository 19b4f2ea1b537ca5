"""The shipped recipes of the four methods, made short, and the sizes in which they run."""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

import dino_plugin.engine.vocabulary  # noqa: F401
from gpu_checks.findings import NotRun

METHODS = ('dino', 'ibot', 'dinov2', 'dinov3')
BUNDLED = Path(__file__).resolve().parents[2] / 'tests/data'
SPLITS = ('worker', 'device', 'decode')
_NUMBERS = itertools.count()


class Size(NamedTuple):
    """Of everything that runs.

    Args:
        network: Arguments of the backbone that differ from the recipe's.
        head: Likewise, of each head.
        global_size: Pixels of a global view, a multiple of the patch.
        local_size: Of a local view.
        num_local: Local views of an image.
        batch: Images in a batch where losses are compared.
        steps: Of a training.
        compared: Steps whose losses are compared with the CPU's.
        num_images: Whose features are compared.
        clip_side: Pixels of the shorter side of a clip, as the network sees it.
        speed_batch: Images in a batch where speed is measured.
        workers: Most processes that load images.
    """

    network: dict
    head: dict
    global_size: int
    local_size: int
    num_local: int
    batch: int
    steps: int
    compared: int
    num_images: int
    clip_side: int
    speed_batch: int
    workers: int


SIZES = dict(
    full=Size({}, {}, 224, 96, 8, 8, 20, 3, 300, 240, 64, 16),
    small=Size(
        dict(img_size=64, patch_size=8, embed_dim=128, depth=2, num_heads=2),
        dict(prototypes=128, hidden_dim=1024, bottleneck_dim=64),
        64, 32, 2, 4, 20, 3, 60, 64, 4, 1,
    ),
)  # fmt: skip


def size_of(options: argparse.Namespace) -> Size:
    """That the command line asks for."""
    return SIZES[options.size]


def recipe(
    method: str,
    options: argparse.Namespace,
    precision: str = 'auto',
    split: str = 'auto',
    chance: bool = False,
    compiled: bool = False,
) -> Config:
    """The recipe for one GPU and one's own images, as a user inherits it, for as many steps as the size says.

    What differs, so that twenty steps show something: the learning rate is the recipe's own (not scaled by the small
    batch), the teacher moves by a tenth at first, Gram anchoring is on from the start.

    Args:
        method: One of `METHODS`.
        options: Of the command line.
        precision: Of the optimiser's wrapper.
        split: Of the work between worker and device.
        chance: With random depth and random positions, as shipped. Each device draws them differently, so that losses
            can be compared only without. Without chance LayerScale begins with 1, too: with the recipes' 1e-5 what the
            blocks compute would not show at first, and KoLeo's gradient, of images that are still alike, is so large
            that fp16 skips a dozen steps.
        compiled: Blocks, and colours where the device changes them.

    Raises:
        NotRun: If there are no images.
    """
    size = size_of(options)
    own = Path(options.folder, f'{method}.py')
    own.write_text(f"_base_ = 'dino_plugin::{method}/{method}_vit-small-p16_1xb64-coslr-100e_custom.py'\n")
    config = Config.fromfile(own)
    model = config.model
    model.backbone.update(**size.network, compile_blocks=compiled)
    model.data_preprocessor.compile_colours = compiled
    model.momentum.start = 0.9
    for head in model.heads.values():
        head.update(size.head)
    if 'gram' in model.losses:
        model.losses.gram.weight = 2.0
    if not chance:
        model.backbone.drop_path_rate = 0.0
        model.backbone.pop('rope_rescale_coords', None)
        model.backbone.update({'init_values': 1.0} if 'init_values' in model.backbone else {})
    config.optim_wrapper.precision = precision
    config.auto_scale_lr.enable = False
    config.train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=size.steps)
    _make_small(config, size, split)
    config.train_dataloader.dataset.dataset.data_root = str(image_folder(options))
    config.default_hooks.checkpoint = None
    config.log_level = 'WARNING'
    number = next(_NUMBERS)  # mmengine keeps runners by name
    config.work_dir, config.experiment_name = str(Path(options.folder, f'run_{number}')), f'gpu_check_{number}'
    return config


def _make_small(config: Config, size: Size, split: str) -> None:
    loader = config.train_dataloader
    loader.update(batch_size=size.batch, num_workers=min(size.workers, 4) if size.workers > 1 else 0)
    loader.update(persistent_workers=False)
    if size.network and 'patch_size' in loader.collate_fn:
        loader.collate_fn.update(patch_size=size.network['patch_size'], min_patches=2)
    crop = next(step for step in loader.dataset.dataset.pipeline if step.type.endswith('MultiCrop'))
    crop.update(global_size=size.global_size, local_size=size.local_size, num_local=size.num_local, split=split)


def image_folder(options: argparse.Namespace) -> Path:
    """The user's images, or the 1,000 bundled ones of CIFAR-10.

    Raises:
        NotRun: If there are none.
    """
    return Path(options.images) if options.images else bundled('cifar10_mini/test')


def bundled(name: str) -> Path:
    """A folder of ``tests/data``.

    Raises:
        NotRun: In an installed copy, which comes without.
    """
    folder = BUNDLED / name
    if not folder.is_dir():
        raise NotRun(f'no images: {folder} is in a checkout only; give a folder as --images')
    return folder


def leave_configs_unformatted() -> None:
    """mmengine writes each config into logs through yapf, which takes seconds; code is code without."""
    from mmengine.config import config as mmengine_config
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda code, **_: (code, False)
    if hasattr(mmengine_config, 'FormatCode'):  # older versions have imported it by its name
        mmengine_config.FormatCode = yapf_api.FormatCode
