"""One training that is not trained: its runner is built, looked at, and stopped after some steps."""

from contextlib import suppress
from pathlib import Path

import torch
from mmengine.config import Config

from dino_plugin.commands.training import training_runner
from dino_plugin.doctor.hook import Examined, ExamineHook

_MEASURING = ('KNNHook', 'GuardHook', 'PicturesHook', 'OnlineEvaluationHook', 'CollapseMonitorHook')


def examine(cfg: Config, out: Path, steps: int, experiments: bool) -> ExamineHook:
    """What the hook found.

    Args:
        cfg: Of a training, with a working directory of its own; changed in place.
        out: Folder of the pictures.
        steps: Of the real training.
        experiments: As in `ExamineHook`.
    """
    out.mkdir(parents=True, exist_ok=True)
    kept = [hook for hook in cfg.get('custom_hooks') or [] if not hook.type.endswith(_MEASURING)]
    cfg.custom_hooks = [*kept, dict(type='dino_plugin.CollapseMonitorHook', interval=max(1, steps // 10))]
    for name in ('pictures', 'capture'):
        cfg.default_hooks.pop(name, None)
    cfg.default_hooks.update(checkpoint=None, logger=None)
    cfg.resume, cfg.visualizer = False, dict(type='mmengine.Visualizer', vis_backends=[])
    runner = training_runner(cfg)
    hook = ExamineHook(out, steps, experiments)
    runner.register_hook(hook)
    torch.manual_seed(0)
    with suppress(Examined):
        runner.train()
    return hook
