"""The optimiser's side: parameter groups, precision, clipping, skipped steps, schedules."""

from collections import defaultdict
from contextlib import contextmanager

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.schedules import Schedule, as_schedule
from dino_plugin.engine.build import build
from dino_plugin.registry import OPTIM_WRAPPERS, TASK_UTILS

PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
CLIP_MODES = ('parameter', 'module', 'global')


class ParameterGroups:
    """Optimiser constructor: what decays, and how fast each part learns; for pretraining and for fine-tuning.

    Weights decay, biases and one-dimensional parameters do not; position embeddings and class tokens do, as in DINO.
    With a layer decay d below 1, a parameter at depth i of a backbone with depths 0 (embedding) to n learns with

        lr(i) = lr * d ** (n + 1 - i)

    and what is behind the backbone with lr. A group also remembers its ``module`` (the backbone or a head) for clipping
    and whether it is a head's ``last_layer`` for freezing. It works in configs of mmsegmentation and mmdetection too,
    whose own constructors know only the backbones they were written for::

        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            constructor='dino_plugin.ParameterGroups', paramwise_cfg=dict(layer_decay=0.65))

    Args:
        optim_wrapper_cfg: With the ``optimizer``; without a ``type`` it becomes a `SelfDistillationOptimWrapper`.
        paramwise_cfg: ``layer_decay`` in (0, 1], and ``custom_keys`` as in mmengine: ``{text: dict(lr_mult=...,
            decay_mult=...)}`` for parameters whose names contain the text; of several texts the longest counts.

    Raises:
        ValueError: For other keys, a layer decay outside (0, 1], or, when it builds, one without a `TimmBackbone`.

    References:
        ``get_params_groups`` in DINO's code; the paper does not mention it. Layer decay: Bao et al. 2021, BEiT,
        arXiv:2106.08254.
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
            raise ValueError(f'ParameterGroups: layer_decay={self.layer_decay} must be in (0, 1]; 1 is none.')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for a model, which may be wrapped for several processes."""
        model = model.module if is_model_wrapper(model) else model
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

    def _factors(self, name: str) -> tuple[float, float]:
        """Of the learning rate and of the weight decay."""
        key = max((key for key in self.custom_keys if key in name), key=len, default=None)
        chosen = self.custom_keys[key] if key is not None else {}
        return chosen.get('lr_mult', 1.0), chosen.get('decay_mult', 1.0)


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate by name of parameter, for those of a `TimmBackbone` anywhere in the model.

    Raises:
        ValueError: If there is a decay, and no backbone.
    """
    if decay == 1:
        return {}
    scales = {}
    for prefix, module in model.named_modules():
        if isinstance(module, TimmBackbone):
            depths = module.layer_depths()
            top = max(depths.values()) + 1
            scales |= {f'{prefix}.{name}': decay ** (top - depth) for name, depth in depths.items()}
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


class SelfDistillationOptimWrapper(OptimWrapper):
    """Precision, clipping, last-layer freeze and the guard against non-finite gradients.

    mmengine has no hook between the backward pass and the optimiser's step, so all that happens there lives here.
    With a fused optimiser (``AdamW(fused=True)``) and without a gradient scaler a skipped step is decided on the
    device, and the host never waits.

    After each call of ``step``, :attr:`stepped` says whether the parameters moved; between two steps (gradient
    accumulation) it is False.

    Args:
        optimizer: The optimiser.
        accumulative_counts: Batches per step.
        precision: 'bf16' or 'fp16' autocast (fp16 with a gradient scaler), or 'fp32'. On CPU too.
        clip_mode: What shares one L2 norm: each 'parameter' tensor (DINO), each 'module' (DINOv2: backbone and each
            head), or 'global'.
        max_norm: Gradients above this norm are scaled down to it; None leaves them.
        freeze_last_layer: Share of training, from the start, in which the prototypes do not move.

    Raises:
        ValueError: For an unknown precision or mode, a norm that is not positive, or a share outside [0, 1].
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        precision: str = 'bf16',
        clip_mode: str = 'parameter',
        max_norm: float | None = 3.0,
        freeze_last_layer: float = 0.0,
    ) -> None:
        super().__init__(optimizer, accumulative_counts)
        if precision not in PRECISIONS:
            raise ValueError(f'precision={precision!r} is unknown; use one of {list(PRECISIONS)}.')
        if clip_mode not in CLIP_MODES:
            raise ValueError(f'clip_mode={clip_mode!r} is unknown; use one of {list(CLIP_MODES)}.')
        if max_norm is not None and max_norm <= 0:
            raise ValueError(f'max_norm={max_norm} must be positive; None switches clipping off.')
        if not 0 <= freeze_last_layer <= 1:
            raise ValueError(f'freeze_last_layer={freeze_last_layer} is a share of training, in [0, 1].')
        untagged = [group for group in optimizer.param_groups if 'module' not in group]
        if untagged and (clip_mode == 'module' or freeze_last_layer):
            raise ValueError(
                'clip_mode="module" and freeze_last_layer need to know the modules; add '
                'constructor="dino_plugin.ParameterGroups" to optim_wrapper.'
            )
        self.dtype = PRECISIONS[precision]
        self.clip_mode = clip_mode
        self.max_norm = max_norm
        self.freeze_last_layer = freeze_last_layer
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.scaler = torch.amp.GradScaler(self.device_type) if precision == 'fp16' else None
        self.stepped: Tensor | bool = False
        self.grad_norm: Tensor | None = None

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast for the forward pass, and no gradient exchange between accumulated batches."""
        with (
            super().optim_context(model),
            torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype is not None),
        ):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Backward pass of the (scaled) loss."""
        self.stepped = False
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        """Freeze, unscale, check, clip, and move the parameters if every gradient is finite."""
        self._freeze_last_layers()
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        grads = self._gradients()
        norms = torch.stack(torch._foreach_norm([grad for grad, _ in grads]))
        self.grad_norm = norms.norm()
        self.stepped = norms.isfinite().all()
        if self.max_norm is not None:
            self._clip(grads, norms)
        if self.scaler is not None:
            self.scaler.step(self.optimizer, **kwargs)
            self.scaler.update()
        elif self.optimizer.defaults.get('fused'):
            # The same attribute that GradScaler sets: a fused optimiser reads it on the device.
            self.optimizer.found_inf = (~self.stepped).float()
            self.optimizer.step(**kwargs)
            del self.optimizer.found_inf
        elif self.stepped:
            self.optimizer.step(**kwargs)

    def state_dict(self) -> dict:
        """The optimiser's state, and the gradient scaler's."""
        state = super().state_dict()
        return state if self.scaler is None else {**state, 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what :meth:`state_dict` gave."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('scaler', None)
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @property
    def progress(self) -> float:
        """Share of training before the batch whose gradients are being applied."""
        return (self._inner_count - 1) / self._max_counts

    def _freeze_last_layers(self) -> None:
        if self.freeze_last_layer and self.progress < self.freeze_last_layer:
            for group in self.optimizer.param_groups:
                if group['last_layer']:
                    for parameter in group['params']:
                        parameter.grad = None  # a zero would still decay the weights

    def _gradients(self) -> list[tuple[Tensor, str]]:
        return [
            (parameter.grad, group.get('module', ''))
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]

    def _clip(self, grads: list[tuple[Tensor, str]], norms: Tensor) -> None:
        """grad <- grad * min(1, max_norm / (norm + 1e-6))"""
        if self.clip_mode == 'global':
            norms = self.grad_norm.expand_as(norms)
        elif self.clip_mode == 'module':
            modules = [module for _, module in grads]
            positions = {module: [i for i, m in enumerate(modules) if m == module] for module in set(modules)}
            per_module = {module: norms[where].norm() for module, where in positions.items()}
            norms = torch.stack([per_module[module] for module in modules])
        factors = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([grad for grad, _ in grads], list(factors.unbind()))


class ProgressScheduler(_ParamScheduler):
    """A parameter of the optimiser follows a schedule of progress.

    value(step) = value in the optimiser's config * schedule(step / end)

    The schedule gives a *factor*, so learning rates keep their ratio between groups, and groups without weight decay
    stay without it (mmengine's own cosine raises them from zero). mmengine fills in ``end``, the length of training.

    Args:
        optimizer: The optimiser or its wrapper.
        param_name: 'lr', 'weight_decay', …
        schedule: A schedule, a config of one, or a number.
        end: Steps of training.
        by_epoch: Count epochs instead of iterations.
        last_step: As in mmengine.
    """

    def __init__(
        self,
        optimizer,
        param_name: str,
        schedule: Schedule | dict | float,
        end: int,
        by_epoch: bool = True,
        last_step: int = -1,
    ) -> None:
        self.schedule = as_schedule(build(TASK_UTILS, schedule) if isinstance(schedule, dict) else schedule)
        super().__init__(optimizer, param_name, end=end, by_epoch=by_epoch, last_step=last_step)

    def _get_value(self) -> list[float]:
        factor = self.schedule(self.last_step / self.end)
        return [base * factor for base in self.base_values]

    def state_dict(self) -> dict:
        """Where the scheduler stands; the schedule and the length of training come from the config.

        So a checkpoint holds plain values only, and a run resumed with another length follows the new one.
        """
        return {key: value for key, value in super().state_dict().items() if key not in ('schedule', 'end')}
