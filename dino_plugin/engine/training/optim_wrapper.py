"""The optimiser step: precision, clipping, freezing, skipped steps."""

import logging
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from dino_plugin.core.reduce import norms_over_shards, own_part
from dino_plugin.engine.precision import PRECISIONS, choose_precision
from dino_plugin.engine.training.resumed_options import under_config

CLIP_MODES = ('parameter', 'module', 'global')
FREEZES = ('gradient', 'rate')


class SelfDistillationOptimWrapper(OptimWrapper):
    """The optimiser step: precision, clipping, freezing, and a skipped step if a gradient is not finite.

    mmengine has no hook between the backward pass and the optimiser's step, so this class does all of it.
    With a fused optimiser (``AdamW(fused=True)``) and without a gradient scaler the device decides whether to skip a
    step, and the host never waits.

    After each ``step``, :attr:`stepped` says whether the parameters moved. It is False between two steps (gradient
    accumulation), and if everything is frozen.

    With ``freeze_backbone`` the heads learn first, on features that do not change. Released backbones come without
    their heads, and the first gradients of new heads would spoil the backbone. No parameter of it changes; statistics
    of batch norms do.

    Args:
        optimizer: The optimiser.
        accumulative_counts: Batches per step.
        precision: 'bf16' or 'fp16' autocast (fp16 with a gradient scaler), or 'fp32', also on CPU. 'auto' is bf16 if
            the device computes in it, otherwise fp32; the log says which, and why.
        clip_mode: Gradients with one common L2 norm: those of each 'parameter' (DINO), of each 'module' (DINOv2:
            backbone and each head), or all of them, 'global'.
        max_norm: Gradients above this norm are scaled down to it; None does not clip.
        freeze_last_layer: Share of training, from the start, in which the prototypes do not change.
        freeze_by: 'gradient' drops their gradients before clipping (DINO, iBOT). 'rate' sets their learning rate to 0,
            so that their gradients count in the norm of the head and in Adam's moments (DINOv2, DINOv3).
        freeze_backbone: Share of training, from the start, in which the backbone does not change.

    Raises:
        ValueError: For an unknown precision or mode, a norm that is not positive, or a share outside [0, 1].
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        precision: str = 'auto',
        clip_mode: str = 'parameter',
        max_norm: float | None = 3.0,
        freeze_last_layer: float = 0.0,
        freeze_by: str = 'gradient',
        freeze_backbone: float = 0.0,
    ) -> None:
        super().__init__(optimizer, accumulative_counts)
        if precision not in ('auto', *PRECISIONS):
            raise ValueError(f"precision={precision!r} is unknown; use 'auto' or one of {list(PRECISIONS)}.")
        if clip_mode not in CLIP_MODES:
            raise ValueError(f'clip_mode={clip_mode!r} is unknown; use one of {list(CLIP_MODES)}.')
        if freeze_by not in FREEZES:
            raise ValueError(f'freeze_by={freeze_by!r} is unknown; use one of {list(FREEZES)}.')
        if max_norm is not None and max_norm <= 0:
            raise ValueError(f'max_norm={max_norm} must be positive; None switches clipping off.')
        for name, share in dict(freeze_last_layer=freeze_last_layer, freeze_backbone=freeze_backbone).items():
            if not 0 <= share <= 1:
                raise ValueError(f'{name}={share} is a share of training, in [0, 1].')
        untagged = [group for group in optimizer.param_groups if 'module' not in group]
        if untagged and (clip_mode == 'module' or freeze_last_layer or freeze_backbone):
            raise ValueError(
                'clip_mode="module", freeze_last_layer and freeze_backbone need to know the modules; add '
                'constructor="dino_plugin.ParameterGroups" to optim_wrapper.'
            )
        if idle := sum(not group['lr'] for group in optimizer.param_groups):
            print_log(
                f'{idle} of {len(optimizer.param_groups)} parameter groups have a learning rate of 0: they do not '
                'learn. Set optim_wrapper.optimizer.lr.',
                logger='current',
                level=logging.WARNING,
            )
        device = optimizer.param_groups[0]['params'][0].device
        self.precision = _chosen_precision(device) if precision == 'auto' else precision
        self.dtype = PRECISIONS[self.precision]
        self.clip_mode = clip_mode
        self.max_norm = max_norm
        self.freeze_last_layer = freeze_last_layer
        self.freeze_by = freeze_by
        self.freeze_backbone = freeze_backbone
        self.device_type = device.type
        self.scaler = torch.amp.GradScaler(self.device_type) if self.precision == 'fp16' else None
        self.stepped: Tensor | bool = False
        self.grad_norm: Tensor | None = None

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast for the forward pass; gradient accumulation exchanges gradients only at the last batch."""
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
        rates = [group['lr'] for group in self.optimizer.param_groups]
        self._freeze()
        self._step(**kwargs)
        for group, rate in zip(self.optimizer.param_groups, rates):
            group['lr'] = rate

    def _step(self, **kwargs) -> None:
        grads = self._gradients()
        if not grads:
            return
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norms = norms_over_shards([grad for grad, _ in grads])
        self.grad_norm = norms.norm()
        self.stepped = norms.isfinite().all()
        if self.max_norm is not None:
            self._clip(grads, norms)
        if self.scaler is not None:
            self.scaler.step(self.optimizer, **kwargs)
            self.scaler.update()
        elif self.optimizer.defaults.get('fused'):
            # GradScaler sets the same attribute; a fused optimiser reads it on the device.
            self.optimizer.found_inf = (~self.stepped).float()
            self.optimizer.step(**kwargs)
            del self.optimizer.found_inf
        elif self.stepped:
            self.optimizer.step(**kwargs)

    def state_dict(self) -> dict:
        """The optimiser's state, the precision, and the gradient scaler's state."""
        state = {**super().state_dict(), 'precision': self.precision}
        return state if self.scaler is None else {**state, 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the result of :meth:`state_dict`.

        Precision, learning rates, weight decay and other options stay those of this run's config, also where a schedule
        moves them; differences are logged.

        Raises:
            ValueError: If it is the state of another kind of optimiser, or of other groups of parameters.
        """
        state_dict = dict(state_dict)
        before = state_dict.pop('precision', self.precision)
        if before != self.precision:
            what = f'The checkpoint was trained in {before}, this run goes on in {self.precision}. To keep {before}'
            print_log(f'{what}: --cfg-options optim_wrapper.precision={before}', 'current', logging.WARNING)
        scaler = state_dict.pop('scaler', None)
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)
        state = under_config(state_dict, self.optimizer.param_groups, self.base_param_settings)
        super().load_state_dict(state)

    @property
    def progress(self) -> float:
        """Share of training before the batch of these gradients."""
        return (self._inner_count - 1) / self._max_counts

    def _before(self, share: float) -> bool:
        return share > 0 and self.progress < share

    def _freeze(self) -> None:
        """Remove the gradients of frozen parameters (zeros would not stop weight decay), or set their rate to 0."""
        for group in self.optimizer.param_groups:
            last_layer = bool(group.get('last_layer')) and self._before(self.freeze_last_layer)
            if last_layer and self.freeze_by == 'rate':
                group['lr'] = 0.0
            elif last_layer or (group.get('module') == 'backbone' and self._before(self.freeze_backbone)):
                for parameter in group['params']:
                    parameter.grad = None

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
        torch._foreach_mul_([own_part(grad) for grad, _ in grads], list(factors.unbind()))


def _chosen_precision(device: torch.device) -> str:
    """The precision that 'auto' means on this device; it is logged."""
    choice = choose_precision(device)
    line = f"precision='auto' is {choice.precision}: {choice.reason}. To choose otherwise"
    print_log(f'{line}: --cfg-options optim_wrapper.precision={choice.alternative}', 'current')
    return choice.precision
