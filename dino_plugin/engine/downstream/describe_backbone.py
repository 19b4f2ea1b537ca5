"""The description of the backbone in each checkpoint."""

from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

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


def describe_normalisation(checkpoint: dict, model: nn.Module) -> None:
    """Write what the model's preprocessor subtracts and divides by into ``checkpoint['meta']['normalisation']``.

    Levels of [0, 255], one number for each channel. A preprocessor that normalises nothing is not described.
    """
    for module in model.modules():
        levels = {name: getattr(module, name, None) for name in ('mean', 'std')}
        if isinstance(module, BaseDataPreprocessor) and all(isinstance(value, Tensor) for value in levels.values()):
            checkpoint['meta']['normalisation'] = {
                name: [round(level, 4) for level in value.flatten().tolist()] for name, value in levels.items()
            }
            return


class DescribeBackboneHook(Hook):
    """For trainings with other OpenMMLab packages: each checkpoint says which network its backbone is.

    Then neither `tools/test.py` nor an export of the backbone needs an option that names it, or mean and deviation of
    the images. In pretraining `EMATeacherHook` does the same.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the description into the checkpoint."""
        describe(checkpoint, runner.model)
        describe_normalisation(checkpoint, runner.model)
