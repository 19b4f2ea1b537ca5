"""The description of the backbone in each checkpoint."""

from mmengine.hooks import Hook
from torch import nn

from dino_plugin.backbones.feature_map_backbone import FeatureMapBackbone
from dino_plugin.backbones.timm_backbone import TimmBackbone


def describe(checkpoint: dict, model: nn.Module) -> None:
    """Write name and arguments of the model's first backbone into ``checkpoint['meta']['backbone']``.

    What else a model was built of, its ``arguments`` if it has them, goes into ``checkpoint['meta']['arguments']``.
    """
    for module in model.modules():
        if isinstance(arguments := getattr(module, 'arguments', None), dict):  # plain values
            checkpoint['meta']['arguments'] = arguments
        if isinstance(module, TimmBackbone | FeatureMapBackbone):
            checkpoint['meta']['backbone'] = module.description
            return


class DescribeBackboneHook(Hook):
    """For trainings with other OpenMMLab packages: each checkpoint says which network its backbone is.

    Then neither `tools/test.py` nor an export of the backbone needs an option that names it. In pretraining
    `EMATeacherHook` does the same.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the description into the checkpoint."""
        describe(checkpoint, runner.model)
