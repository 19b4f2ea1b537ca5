"""A learning rate and a weight decay for each probe of a model."""

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from dino_plugin.registry import OPTIM_WRAPPERS


class ProbeGroups:
    """Optimiser constructor for a model with `parameter_groups`, such as `ClipClassifier`.

    Args:
        optim_wrapper_cfg: Config with the ``optimizer``; its learning rate and weight decay are the model's.
        paramwise_cfg: mmengine's; must be empty.

    Raises:
        ValueError: If there is a ``paramwise_cfg``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg:
            raise ValueError(f'ProbeGroups: the model has the settings of its probes; remove {paramwise_cfg=}.')
        self.config = dict(optim_wrapper_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for a model, which may be wrapped for several processes."""
        groups = getattr(model, 'module', model).parameter_groups()
        optimizer = OPTIMIZERS.build(dict(self.config['optimizer'], params=groups))
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.config, 'optimizer': optimizer})
