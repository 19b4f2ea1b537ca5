"""The quickstart's recipe, cut short, on its real images: it must learn, not only run."""

import math
import os
from pathlib import Path

import numpy as np
from fresh_process import call_in_fresh_process
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.openmmlab.config_files import config_root

SCALARS = ('train/loss_dino', 'train/target_entropy', 'train/effective_rank', 'knn/top1_k20')


def train(repository: Path, work_dir: Path) -> dict[str, np.ndarray]:
    os.chdir(repository)
    (path,) = (config_root() / 'quickstart').glob('*-18e_cifar10-mini.py')
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.experiment_name = str(work_dir), work_dir.name
    cfg.train_cfg.max_epochs = 2
    runner = Runner.from_cfg(cfg)
    runner.train()
    return {name: runner.message_hub.get_scalar(name).data[0] for name in SCALARS}


def test_training_on_real_images_raises_knn_lowers_the_loss_and_does_not_collapse(tmp_path, repository):
    """Without the tests' type checker, which takes half as long again; `test_configs.py` makes a step with it."""
    scalars = call_in_fresh_process(train, repository, tmp_path)
    assert scalars['knn/top1_k20'][-1] > scalars['knn/top1_k20'][0] + 2
    assert scalars['train/loss_dino'][-20:].mean() < scalars['train/loss_dino'][:20].mean() - 0.3
    assert all(0.02 < entropy / math.log(512) < 0.98 for entropy in scalars['train/target_entropy'])
    assert scalars['train/effective_rank'].min() > 20
