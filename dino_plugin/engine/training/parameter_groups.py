"""The weight decay and the learning rate of each parameter."""

from collections import defaultdict
from fnmatch import fnmatchcase

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.training.model import unwrapped
from dino_plugin.registry import OPTIM_WRAPPERS


class ParameterGroups:
    """Optimiser constructor: weight decay and learning rate of each parameter, in pretraining and fine-tuning.

    Biases and one-dimensional parameters have no weight decay; position embeddings and class tokens have, as in DINO.
    With a layer decay d below 1 the learning rate of block i of n is

        lr(i) = lr * d ** (n + 1 - i)

    It is lr(0) for the embedding, and lr for the last normalisation and all parameters after the backbone. A group also
    has its ``module`` (the backbone or a head), for clipping, and whether it is a head's ``last_layer``, for freezing.
    It also works in configs of mmsegmentation and mmdetection, whose own constructors know only certain backbones::

        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            constructor='dino_plugin.ParameterGroups', paramwise_cfg=dict(layer_decay=0.65))

    Args:
        optim_wrapper_cfg: Config with the ``optimizer``; the default ``type`` is `SelfDistillationOptimWrapper`.
        paramwise_cfg: ``layer_decay`` in (0, 1], and ``custom_keys`` as in mmengine: ``{text: dict(lr_mult=...,
            decay_mult=...)}`` for parameters whose names contain the text, where ``*`` stands for anything; the longest
            text that fits counts. Parameters with ``lr_mult=0`` are frozen: they have no gradient and take no memory of
            the optimiser. ``{'backbone': dict(lr_mult=0), 'backbone*norm': dict(lr_mult=0.1)}`` trains the heads, and
            of the backbone its normalisations.

    Raises:
        ValueError: For other keys or a layer decay outside (0, 1]. When it builds: for a layer decay without a
            `TimmBackbone`, if everything is frozen, or if something is and the wrapper for several processes would wait
            for its gradient.

    References:
        ``get_params_groups`` in DINO's code; the paper does not mention it. Layer decay: Bao et al. 2021, BEiT,
        arXiv:2106.08254; DINOv2's code counts layers alike.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        rest = dict(paramwise_cfg or {})
        self.layer_decay: float = rest.pop('layer_decay', 1.0)
        self.custom_keys: dict[str, dict[str, float]] = rest.pop('custom_keys', {})
        self.config = dict(optim_wrapper_cfg)
        unknown = set().union(*self.custom_keys.values()) - {'lr_mult', 'decay_mult'}
        if rest or unknown:
            raise ValueError(
                f'ParameterGroups: paramwise_cfg has unknown entries {sorted([*rest, *unknown])}; it takes layer_decay '
                'and custom_keys={text: dict(lr_mult=..., decay_mult=...)}.'
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f'ParameterGroups: layer_decay={self.layer_decay} must be in (0, 1]; 1 means no decay.')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for a model, which may be wrapped for several processes."""
        self._freeze(model)
        model = unwrapped(model)
        scales = layer_scales(model, self.layer_decay)
        groups: dict[tuple, list] = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                rate, decay = self._factors(name)
                decay *= parameter.ndim > 1 and not name.endswith('.bias')
                groups[rate * scales.get(name, 1.0), decay, _module_of(name), '.last_layer.' in name].append(parameter)
        config = dict(self.config)
        optimizer = dict(config.pop('optimizer'))
        optimizer['params'] = [
            {'params': parameters, 'module': module, 'last_layer': last_layer}
            | ({} if rate == 1 else {'lr': optimizer['lr'] * rate})
            | ({} if decay == 1 else {'weight_decay': optimizer['weight_decay'] * decay if decay else 0.0})
            for (rate, decay, module, last_layer), parameters in groups.items()
        ]
        return OPTIM_WRAPPERS.build(
            {'type': 'dino_plugin.SelfDistillationOptimWrapper', **config, 'optimizer': OPTIMIZERS.build(optimizer)}
        )

    def _freeze(self, model: nn.Module) -> None:
        """Parameters with a factor of 0 get no gradients."""
        learning = {name: value for name, value in unwrapped(model).named_parameters() if value.requires_grad}
        frozen = [name for name in learning if self._factors(name)[0] == 0]
        if not frozen:
            return
        if len(frozen) == len(learning):
            raise ValueError(f'ParameterGroups: lr_mult=0 freezes everything; custom_keys: {self.custom_keys}.')
        if isinstance(model, DistributedDataParallel) and not model.find_unused_parameters:
            raise ValueError(
                f'ParameterGroups: lr_mult=0 freezes {len(frozen)} tensors, such as {frozen[0]}, whose gradients the '
                'wrapper for several processes would wait for. Write find_unused_parameters=True into the config.'
            )
        for name in frozen:
            learning[name].requires_grad_(False)
        left = sum(value.numel() for value in learning.values() if value.requires_grad)
        print_log(f'lr_mult=0 freezes {len(frozen)} tensors; {left:,} parameters learn.', 'current')

    def _factors(self, name: str) -> tuple[float, float]:
        """Factors of the learning rate and of the weight decay."""
        key = max((key for key in self.custom_keys if fnmatchcase(name, f'*{key}*')), key=len, default=None)
        chosen = self.custom_keys[key] if key is not None else {}
        return chosen.get('lr_mult', 1.0), chosen.get('decay_mult', 1.0)


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate by parameter name, for each `TimmBackbone` in the model.

    Raises:
        ValueError: If there is a layer decay and no such backbone.
    """
    if decay == 1:
        return {}
    scales = {}
    for prefix, module in model.named_modules():
        if isinstance(module, TimmBackbone):
            distances = module.layers_to_output()
            scales |= {f'{prefix}.{name}': decay**distance for name, distance in distances.items()}
    if not scales:
        raise ValueError(
            f'ParameterGroups: layer_decay={decay} needs a dino_plugin.TimmBackbone or dino_plugin.TimmFeatureMaps in '
            f'the model, to know the depth of its layers; {type(model).__name__} has none. Remove layer_decay.'
        )
    return scales


def _module_of(name: str) -> str:
    """'distillation.student.heads.cls.mlp.0.weight' -> 'heads.cls'; '….student.backbone.…' -> 'backbone'."""
    parts = name.removeprefix('distillation.student.').split('.')
    return '.'.join(parts[:2]) if parts[0] == 'heads' else parts[0]
