"""The only place that moves the teacher."""

from mmengine.optim import AmpOptimWrapper
from torch import Tensor

from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.downstream.describe_backbone import DescribeBackboneHook, describe, describe_normalisation
from dino_plugin.engine.training.model import unwrapped


class EMATeacherHook(DescribeBackboneHook):
    """Move the teacher towards the student, after each optimiser step and only then.

    The teacher does not move during gradient accumulation and after a skipped step. Before each iteration the hook sets
    the model's progress. It writes the backbone's description, the images' normalisation and the names of the losses
    into the ``meta`` of each checkpoint, so that evaluators and the export need no config.

    Raises:
        TypeError: With mmengine's AmpOptimWrapper, which does not say when it skipped a step.
    """

    def before_train(self, runner) -> None:
        """Refuse an optimiser wrapper that does not report skipped steps."""
        if isinstance(runner.optim_wrapper, AmpOptimWrapper):
            raise TypeError(
                'AmpOptimWrapper does not say when it skipped a step, so the teacher would move without the student; '
                "use optim_wrapper=dict(type='dino_plugin.SelfDistillationOptimWrapper', precision='fp16', ...)."
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set the model's progress."""
        unwrapped(runner.model).progress = runner.iter / runner.max_iters

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Move the teacher if the student moved."""
        model, optim_wrapper = unwrapped(runner.model), runner.optim_wrapper
        if not optim_wrapper.should_update():
            return
        stepped = getattr(optim_wrapper, 'stepped', True)  # mmengine's plain wrapper skips nothing
        if isinstance(stepped, Tensor):
            stepped = bool(stepped) if stepped.device.type == 'cpu' else stepped
        else:  # False if everything is frozen, which is not a skipped step
            stepped = True
        model.distillation.update_teacher(model.progress, stepped)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the backbone's description and the names of the losses into the checkpoint.

        Raises:
            TypeError: If another runner than ours would save a sharded model.
        """
        if isinstance(runner.model, FullyShard) and 'state_dict' in checkpoint:
            raise TypeError(
                f'{type(runner).__name__} would save the part of one process only; train a FullyShard by '
                'tools/train.py, or by dino_plugin.engine.distributed.sharded_runner.ShardedRunner.'
            )
        distillation = unwrapped(runner.model).distillation
        checkpoint['meta']['losses'] = [type(loss).__name__ for loss in distillation.losses.values()]
        describe(checkpoint, distillation.student.backbone)
        describe_normalisation(checkpoint, runner.model)
