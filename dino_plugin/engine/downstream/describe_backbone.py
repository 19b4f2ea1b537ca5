"""What network a training's checkpoints hold, in the checkpoints."""

from mmengine.hooks import Hook
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.weights.checkpoint import use_safe_loading


def describe(checkpoint: dict, model: nn.Module) -> None:
    """Leave name and arguments of the model's (first) `TimmBackbone` in ``checkpoint['meta']['backbone']``."""
    for module in model.modules():
        if isinstance(module, TimmBackbone):
            checkpoint['meta']['backbone'] = module.description
            return


class DescribeBackboneHook(Hook):
    """For trainings of other OpenMMLab packages: each checkpoint says which network its backbone is.

    `tools/test.py` then needs no option that names it, and neither does whoever takes the backbone out of it. The
    checkpoints of pretraining say so without this hook.
    """

    def before_run(self, runner) -> None:
        """Read checkpoints safely: some versions of mmengine read anything, others not even their own."""
        use_safe_loading()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave the description in the checkpoint."""
        describe(checkpoint, runner.model)
