"""How fast images become views, by split of the work, and how long the step waits for them."""

import argparse
import gc
import os
import statistics
import time
from functools import partial
from pathlib import Path

from mmengine.config import Config

from dino_plugin.commands.runner import Runner
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.views.split_of_work import num_cores
from gpu_checks.findings import Findings
from gpu_checks.recipes import SPLITS, bundled, leave_configs_unformatted, recipe, size_of
from gpu_checks.recorder import train

WARM_UP = 4  # steps


def run(options: argparse.Namespace, findings: Findings) -> None:
    """DINO in the precision of the device."""
    leave_configs_unformatted()
    for split in SPLITS:
        findings.attempt(split, partial(_measure, split, options, findings))
        gc.collect()


def _measure(split: str, options: argparse.Namespace, findings: Findings) -> None:
    size = size_of(options)
    workers = min(size.workers, max(num_cores() - 1, 1))
    batches = WARM_UP + 2 * workers + 8  # more than the workers make ahead
    config = _config(split, options, workers, batches)
    alone = loader_rate(config, batches)
    steps = train(config, options.device, watch_teacher=False).steps[WARM_UP:]
    waited, computed = (statistics.mean(getattr(step, name) for step in steps) for name in ('waited', 'seconds'))
    findings.measure(
        split,
        workers=workers,
        cores=num_cores(),
        loader_images_per_second=alone,
        training_images_per_second=size.speed_batch / (waited + computed),
        step_images_per_second=size.speed_batch / computed,
        waiting=waited / (waited + computed),
    )


def loader_rate(config: Config, batches: int) -> float:
    """Images a second of the loader alone, from the first batch on: starting the workers does not count."""
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    iterator = iter(loader)
    next(iterator)
    began = time.perf_counter()
    for _ in range(batches - 1):
        next(iterator)
    return (batches - 1) * loader.batch_size / (time.perf_counter() - began)


def _config(split: str, options: argparse.Namespace, workers: int, batches: int) -> Config:
    """Enough images for all batches: the same files again and again, of the size that photographs have."""
    config, size = recipe('dino', options, split=split), size_of(options)
    folder = Path(options.images) if options.images else bundled('davis/JPEGImages')
    paths = [os.path.abspath(path) for path in find_images(str(folder))[0]]
    needed = batches * size.speed_batch
    listed = Path(options.folder, 'images.txt')
    listed.write_text('\n'.join((paths * -(-needed // len(paths)))[:needed]))
    config.train_dataloader.update(batch_size=size.speed_batch, num_workers=workers)
    config.train_dataloader.dataset.dataset.update(data_root='', ann_file=str(listed))
    config.train_cfg.max_iters = batches
    return config
