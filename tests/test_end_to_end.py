"""The quickstart's recipe, cut short, on its real images: it must learn, not only run."""

import math

from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.openmmlab.config_files import config_root


def test_training_on_real_images_raises_knn_lowers_the_loss_and_does_not_collapse(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    (path,) = (config_root() / 'quickstart').glob('*cifar10-mini.py')
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    cfg.train_cfg.max_epochs = 2
    runner = Runner.from_cfg(cfg)
    runner.train()

    scalars = {
        name: runner.message_hub.get_scalar(name).data[0]
        for name in ('train/loss_dino', 'train/target_entropy', 'train/effective_rank', 'knn/top1_k20')
    }
    assert scalars['knn/top1_k20'][-1] > scalars['knn/top1_k20'][0] + 2
    assert scalars['train/loss_dino'][-20:].mean() < scalars['train/loss_dino'][:20].mean() - 0.3
    assert all(0.02 < entropy / math.log(512) < 0.98 for entropy in scalars['train/target_entropy'])
    assert scalars['train/effective_rank'].min() > 20
