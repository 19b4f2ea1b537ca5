"""Ten steps of four methods on two processes, each with half of every network, equal those of one, in float64."""

import torch
from mmengine.hooks import Hook
from processes import run_in_processes
from test_whole_training_parity import BATCH, EQUAL, STEPS, VIEWS, shrunk
from torch.distributed.tensor import DTensor

from dino_plugin.engine.distributed.sharded_runner import ShardedRunner
from dino_plugin.engine.training.model import unwrapped

RECIPES = [
    'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py',
    'ibot/ibot_vit-small-p16_16xb64-coslr-800e_in1k.py',
    'dinov2/dinov2_vit-small-p16-reg4_32xb64-short-125k_in1k.py',
    'dinov3/dinov3_vit-7b-p16_256xb16-gram-200k_folder.py',
]


class Losses(Hook):
    """Mean of each loss over the processes, for each iteration; and the norms of the gradients."""

    def __init__(self):
        self.values, self.norms = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append({name: value.detach() for name, value in outputs.items()})
        self.norms.append(runner.optim_wrapper.grad_norm.clone())


def recipe(name, work_dir, ranks):
    cfg = shrunk(name, work_dir)
    cfg.train_dataloader.batch_size = BATCH // ranks
    cfg.train_dataloader.sampler.pop('batch_size', None)
    cfg.auto_scale_lr = None
    cfg.optim_wrapper.optimizer.lr = 0.003
    if 'koleo' in cfg.model.losses:
        cfg.model.losses.koleo.over_ranks = True
    cfg.default_hooks.checkpoint = None
    return cfg


def trained(cfg, rank=0, ranks=1, seen=None):
    """What the training leaves behind, whole; the views of one process are the parts of the given ones."""
    runner = ShardedRunner.from_cfg(cfg)
    network = unwrapped(runner.model.double()).distillation
    losses, own = Losses(), []
    runner.register_hook(losses)

    def exchange(module, inputs):
        views, progress = inputs
        if seen is None:  # both halves of the batch have equally many masked patches, so their means have one weight
            given = {part: getattr(views, part) for part in VIEWS}
            views = views._replace(**{part: view.double() for part, view in given.items() if view is not None})
            if views.masks is not None:
                half = views.masks[:, : BATCH // 2]
                views = views.with_masks(torch.cat([half, half], dim=1))
        else:
            whole = {part: getattr(seen[len(own)], part) for part in (*VIEWS, 'masks')}
            cut = {part: view.chunk(ranks, 1)[rank].contiguous() for part, view in whole.items() if view is not None}
            views = seen[len(own)]._replace(**cut)
            views = views if views.masks is None else views.with_masks(views.masks)
        own.append(views)
        return views, progress

    network.register_forward_pre_hook(exchange)
    runner.train()
    state = network.state_dict()
    state = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}
    return dict(state=state, losses=losses.values, norms=torch.stack(losses.norms)), own


def train_parts(rank, folder, ranks):
    for number, name in enumerate(RECIPES):
        cfg = recipe(name, folder / f'of_{ranks}_{number}', ranks)
        replicas = 2 if name.startswith('ibot') else 1  # each process a group of its own, with all parts
        cfg.launcher, cfg.model_wrapper_cfg = 'pytorch', dict(type='dino_plugin.FullyShard', replicas=replicas)
        seen = torch.load(folder / f'views_{number}.pt', weights_only=False)
        found, _ = trained(cfg, rank, ranks, seen)
        torch.save(found, folder / f'{number}_rank_{rank}.pt')


def test_two_processes_with_half_of_each_network_equal_one(tmp_path):
    alone = []
    for number, name in enumerate(RECIPES):
        found, seen = trained(recipe(name, tmp_path / f'alone_{number}', 1))
        assert len(seen) == STEPS
        torch.save(seen, tmp_path / f'views_{number}.pt')
        alone.append(found)
    run_in_processes(train_parts, tmp_path, 2)
    for number, one in enumerate(alone):
        two = [torch.load(tmp_path / f'{number}_rank_{rank}.pt', weights_only=True) for rank in range(2)]
        for name, value in one['state'].items():
            assert torch.equal(two[0]['state'][name], two[1]['state'][name]), name
            torch.testing.assert_close(two[0]['state'][name], value, rtol=0, atol=EQUAL)
        torch.testing.assert_close(two[0]['norms'], one['norms'], rtol=1e-9, atol=0)
        for step, whole in enumerate(one['losses']):
            for name, value in whole.items():
                mean = (two[0]['losses'][step][name] + two[1]['losses'][step][name]) / 2
                torch.testing.assert_close(mean.double(), value.double(), rtol=0, atol=1e-6)
