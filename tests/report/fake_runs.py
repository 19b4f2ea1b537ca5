"""Working directories as mmengine writes them, without a training."""

import json
import math
from pathlib import Path

import cv2
import numpy as np

CONFIG = """train_cfg = dict(max_epochs={epochs}, type='dino_plugin.ResumableEpochLoop')
optim_wrapper = dict(optimizer=dict(lr={lr}, type='AdamW'))
custom_hooks = [
    dict(type='dino_plugin.EMATeacherHook'),
    dict(interval=26, type='dino_plugin.CollapseMonitorHook'),
]
betas = (0.9, 0.95)
work_dir = '{work_dir}'
"""
ENVIRONMENT = """
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.7

Runtime environment:
    seed: 0
------------------------------------------------------------
"""
DESCRIPTION = """Training begins.
    losses     dino (DINOLoss)
    images     5,000 in batches of 64
    continue   after a stop: the same command with --resume"""
COLLAPSE = (
    'dino: for {} measurements every image gets the same sharp target: the teacher has collapsed onto few prototypes. '
    '(target entropy 3% and information 0.1% of their maximum, loss 0.012)'
)
PER_EPOCH = 10


def log_line(text: str, level: str = 'INFO', second: int = 0) -> str:
    return f'2026/01/01 10:{second // 60 % 60:02}:{second % 60:02} - mmengine - {level} - {text}\n'


def record(step: int, **more: float) -> dict:
    loss = 6 - math.log(step)
    values = dict(loss=loss, loss_dino=loss, target_information=1.0, feature_std=0.9, time=0.1)
    return values | more | dict(epoch=(step - 1) // PER_EPOCH + 1, iter=step, step=step)


def write_run(
    work_dir: Path,
    steps: int = 20,
    epochs: int = 2,
    lr: float = 0.001,
    dated: str = '20260101_100000',
    first: int = 1,
    warnings: tuple[tuple[str, str], ...] = (),
) -> Path:
    """A run of so many iterations, ten in an epoch; the folder is given back."""
    data = work_dir / dated / 'vis_data'
    data.mkdir(parents=True)
    config = CONFIG.format(epochs=epochs, lr=lr, work_dir=work_dir.as_posix())
    (data / 'config.py').write_text(config, errors='replace')
    lines = [{'knn/top1_k20': 30.0, 'step': 0}] if first == 1 else []
    text = log_line(ENVIRONMENT) + log_line(DESCRIPTION, second=1)
    for level, message in warnings:
        text += log_line(message, level, second=2)
    for step in range(first, steps + 1):
        lines.append(record(step))
        epoch, done = (step - 1) // PER_EPOCH + 1, (step - 1) % PER_EPOCH + 1
        text += log_line(f'Epoch(train) {f"[{epoch}]":>4}[{done:2}/{PER_EPOCH}]  loss: 5.0', second=2 + step)
    lines.append({'knn/top1_k20': 42.5, 'step': steps})
    (data / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (work_dir / dated / f'{dated}.log').write_text(text)
    return work_dir


def write_picture(path: Path, colour: tuple[int, int, int] = (0, 0, 255), size: tuple[int, int] = (24, 36)) -> Path:
    """A PNG of one colour, in OpenCV's order blue, green, red."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', np.full((*size, 3), colour, np.uint8))[1].tobytes())
    return path
