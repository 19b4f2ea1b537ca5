"""DINO from images to numbers and pictures, on a CPU; tools/quickstart.sh sets everything up and runs this.

Trains by a config and compares k-NN with an untrained network and raw pixels, carries the first masks of the bundled
DAVIS clips through them, prints the scorecard, and shows everything on one page. `--full` trains longer, and segments
frames with mmsegmentation. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.openmmlab.config_files import CHECKOUT, config_path

if TYPE_CHECKING:
    from mmengine.config import Config, ConfigDict
    from torch.utils.data import Dataset

    from dino_plugin.backbones.timm_backbone import TimmBackbone
    from dino_plugin.evaluation.video.clip import Clip

# Heavy imports stand in functions, so that --help and usage errors are quick.
CONFIG = 'quickstart/dino_vit-tiny_1xb64-18e_cifar10-mini.py'
FULL_CONFIG = 'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'
SEGMENTATION = 'segmentation/vit-tiny_linear_1xb8-60_davis-224x224.py'
DAVIS = CHECKOUT / 'tests/data/davis'
IMAGES = 'tests/data/cifar10_mini'
FRAMES = [
    DAVIS / f'JPEGImages/480p/{name}.jpg'
    for name in ('blackswan/00000', 'blackswan/00024', 'car-shadow/00018', 'libby/00012')
]
SHORT_SIDE = 240  # of frames, half of DAVIS's
HELD_OUT = 5  # of the user's labelled images, every fifth is a query, the others are the bank


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Pretrain DINO on a CPU and measure what was learnt.')
    parser.add_argument('--images', type=Path, help='your own folder; k-NN is measured if its subfolders are classes')
    parser.add_argument('--full', action='store_true', help='train longer, and measure segmentation and discovery too')
    parser.add_argument('--steps', type=int, help='about this many training steps (default: the whole recipe)')
    parser.add_argument('--work-dir', type=Path, default=CHECKOUT / 'work_dirs/quickstart')
    parser.add_argument('--resume', action='store_true', help='continue from the latest checkpoint')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> tuple[Config, ConfigDict | None]:
    """The quickstart's config for these arguments, and its k-NN hook if images have classes."""
    from mmengine.config import Config

    from dino_plugin.commands.machine import count_classes, list_images

    cfg = Config.fromfile(config_path(FULL_CONFIG if args.full else CONFIG))
    cfg.work_dir, cfg.resume = str(args.work_dir), args.resume
    images, hook = cfg.train_dataloader.dataset.dataset, cfg.custom_hooks[-1]
    batch_size = cfg.train_dataloader.batch_size
    cfg.default_hooks.pictures.size = SHORT_SIDE
    for dataset in (images, hook.bank.dataset, hook.queries.dataset):
        dataset.data_root = str(args.images.resolve() if args.images else CHECKOUT / dataset.data_root)
    number = len(list_images(str(CHECKOUT / IMAGES / 'train')))
    steps = args.steps or cfg.train_cfg.max_epochs * (number // batch_size)
    if not args.images:
        cfg.default_hooks.pictures.images = str(DAVIS / 'JPEGImages/480p')
    else:
        paths = list_images(images.data_root)
        number = len(paths)
        if count_classes(paths, images.data_root):
            hook.queries.dataset.indices = list(range(0, number, HELD_OUT))
            images.indices = hook.bank.dataset.indices = [i for i in range(number) if i % HELD_OUT]
            images.with_labels = True  # training ignores labels; they give the files the order of the bank
            number = len(images.indices)
        else:
            cfg.custom_hooks.remove(hook)
            hook = None
    if number < batch_size:
        raise ValueError(f'{number} images of {images.data_root} to train on are less than a batch of {batch_size}.')
    cfg.train_cfg.max_epochs = max(1, math.ceil(steps / (number // batch_size)))
    return cfg, hook


def set_threads(cfg: Config, images: Dataset) -> int:
    """The threads that make a training step fastest here, and a second worker if they leave cores to it."""
    from mmengine.registry import MODELS

    from dino_plugin.commands.thread_choice import choose_threads
    from dino_plugin.data.collate import multi_crop_collate
    from dino_plugin.data.views.split_of_work import num_cores

    model = MODELS.build(cfg.model)
    model.progress = 0.0
    batch = multi_crop_collate([images[0]] * cfg.train_dataloader.batch_size)
    batch = model.data_preprocessor(batch, training=True)
    threads = choose_threads(lambda: sum(model(**batch, mode='loss').values()).backward())
    cfg.train_dataloader.num_workers = 2 if num_cores() >= threads + 2 else 1
    print(f'Of 1 to {num_cores()} threads a training step is fastest with {threads}.', flush=True)
    return threads


def raw_pixels(hook: ConfigDict) -> float:
    """k-NN on the images themselves."""
    import torch
    from mmengine.registry import DATASETS

    from dino_plugin.evaluation.classification.raw_pixels import raw_pixel_accuracy

    parts = []
    for config in (hook.bank.dataset, hook.queries.dataset):
        images, labels, _ = zip(*DATASETS.build(config))
        parts += [torch.stack(images), torch.tensor(labels)]
    return raw_pixel_accuracy(*parts).accuracy


def save_features(backbone: TimmBackbone, out: Path) -> Path:
    """Patch features of a few video frames as colours."""
    from dino_plugin.data.images.decoding import decode_image
    from dino_plugin.visualization.contact_sheet import save_image
    from dino_plugin.visualization.pca import pca_of_images

    return save_image(pca_of_images(backbone, [decode_image(path.read_bytes()) for path in FRAMES]), out)


def segmentation_miou(backbone: dict, work_dir: Path) -> float:
    """mIoU of a linear probe of a frozen backbone, trained and tested by mmsegmentation."""
    from mmengine.config import Config

    from dino_plugin.commands.runner import Runner

    cfg = Config.fromfile(config_path(SEGMENTATION))
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = cfg.visualizer.name = f'quickstart_{work_dir.name}'
    cfg.model.backbone.update(backbone)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.dataset.data_root = str(DAVIS)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.message_hub.get_scalar('val/mIoU').current()


def propagation_score(masks_of_clip: Callable[[Clip], Iterable]) -> float:
    """J&F in per cent over the bundled clips, three of DAVIS-2016 with every sixth frame."""
    from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
    from dino_plugin.evaluation.video.scores import evaluate_clip, global_results

    clips = DAVISDataset(DAVIS, year=2016).clips
    return 100 * global_results([evaluate_clip(clip, masks_of_clip(clip)) for clip in clips])['J&F-Mean']


def propagate(backbone: TimmBackbone, folder: Path, clip: Clip) -> Iterable:
    """Masks of a clip at half of DAVIS's resolution, written as masks, film and sheet frame by frame."""
    from dino_plugin.evaluation.video.clip_results import ClipResults
    from dino_plugin.evaluation.video.segment_clip import segment_clip

    settings = dict(short_side=SHORT_SIDE, multiple=16)
    return ClipResults(folder, clip, settings).write(segment_clip(backbone, clip, **settings))


def measure_dense(arguments: dict, backbone_file: Path, work_dir: Path, full: bool) -> dict[str, float]:
    """Label propagation with films, and in full segmentation, for the trained and an untrained network."""
    import torch

    from dino_plugin.backbones.timm_backbone import TimmBackbone
    from dino_plugin.evaluation.video.segment_clip import copy_first_mask

    result = {}
    for name, network in {'': dict(arguments, checkpoint=str(backbone_file)), '_untrained': arguments}.items():
        torch.manual_seed(0)
        backbone = TimmBackbone(**network)
        result[f'davis_jf{name}'] = propagation_score(partial(propagate, backbone, work_dir / f'propagation{name}'))
        if full:
            result[f'miou{name}'] = segmentation_miou(network, work_dir / f'segmentation{name}')
    return result | {'davis_jf_copy': propagation_score(copy_first_mask)}


def print_scorecard(backbone: Path, args: argparse.Namespace, threads: int) -> Path:
    """What else the features can be asked, by the command that a user would type."""
    out = args.work_dir / 'scorecard'
    command = ['tools/scorecard.py', str(backbone), '--images', str(args.images or CHECKOUT / IMAGES)]
    command += [*(['--masks', str(DAVIS)] if args.full else []), '--out', str(out)]
    print(shlex.join(['python', *command]), flush=True)
    command[0] = str(CHECKOUT / command[0])
    subprocess.run([sys.executable, *command], check=True, env=os.environ | {'OMP_NUM_THREADS': str(threads)})
    return out / 'scorecard.json'


def print_result(result: dict, files: dict[str, Path]) -> None:
    from rich import print as rich_print
    from rich.table import Table

    table = Table('', 'value', title='DINO quickstart')
    for name, value in result.items():
        table.add_row(name, 'not measured: no class folders' if value is None else f'{value:.1f}')
    for name, path in files.items():
        table.add_row(name, str(path))
    rich_print(table)
    rounded = {name: round(float(value), 2) if isinstance(value, float) else value for name, value in result.items()}
    print(json.dumps(rounded))


def main() -> None:
    args = parse_args()
    from mmengine.registry import DATASETS

    import dino_plugin.engine.vocabulary  # noqa: F401
    from dino_plugin.backbones.timm_backbone import TimmBackbone
    from dino_plugin.commands.command_line import fail
    from dino_plugin.commands.runner import Runner
    from dino_plugin.export.backbone import export_backbone
    from dino_plugin.report.page import write_page
    from dino_plugin.visualization.contact_sheet import save_image, views_sheet
    from dino_plugin.visualization.curves import plot_curves

    try:
        cfg, hook = load_config(args)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error))
    images = DATASETS.build(cfg.train_dataloader.dataset)
    files = {'views': save_image(views_sheet(images), args.work_dir / 'views.png')}
    print(f'What a step sees of the images: {files["views"]}', flush=True)
    threads = set_threads(cfg, images)
    runner = Runner.from_cfg(cfg)
    print(f'Pictures during training: {runner.log_dir}/vis_data/vis_image', flush=True)
    began = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - began
    result = dict.fromkeys(('knn_top1', 'knn_top1_untrained', 'knn_top1_raw_pixels'))
    if hook:
        curve = runner.message_hub.get_scalar('knn/top1_k20').data[0]
        result |= {'knn_top1': curve[-1], 'knn_top1_untrained': curve[0], 'knn_top1_raw_pixels': raw_pixels(hook)}
    speed = runner.message_hub.get_scalar('train/images_per_second').mean()
    result |= {'images_per_second': speed, 'seconds': seconds, 'steps': runner.max_iters, 'threads': threads}
    files['checkpoint'] = args.work_dir / f'epoch_{runner.max_epochs}.pth'
    files['backbone'] = export_backbone(files['checkpoint'], args.work_dir / 'backbone')
    arguments = {key: value for key, value in cfg.model.backbone.items() if key != 'type'}
    trained = TimmBackbone(**arguments, checkpoint=str(files['backbone']))
    files['patch features'] = save_features(trained, args.work_dir / 'features.png')
    result |= measure_dense(arguments, files['backbone'], args.work_dir, args.full)
    files['propagated masks'] = args.work_dir / 'propagation/overlays'
    files['scorecard'] = print_scorecard(files['backbone'], args, threads)
    files['curves'] = plot_curves(args.work_dir if args.resume else runner.log_dir, args.work_dir / 'curves.png')
    files['log'] = Path(runner.log_dir)
    files['page, to be opened in a browser'] = write_page([args.work_dir], args.work_dir / 'report.html')
    print_result(result, files)


if __name__ == '__main__':
    main()
