"""A whole training by self-distillation in plain loops, written from the papers' equations.

It is the reference of whole trainings: nothing of dino_plugin is used. The forward pass is that of timm's network, for
one view at a time; all else is written out here and in `plain_equations`. Progress p is the share of the optimiser's
steps already taken.

References:
    DINO (arXiv:2104.14294), iBOT (2111.07832), DINOv2 (2304.07193), DINOv3 (2508.10104); AdamW (1711.05101), layer
    decay (2106.08254); freezing and clipping as in the authors' code.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from plain_equations import CONSTANT, Ramp, Weights, cosine, gram, koleo, scores, sinkhorn_knopp
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import layer_norm


@dataclass(frozen=True)
class Numbers:
    """What distinguishes the methods."""

    rate: float  # of AdamW, at the end of the warm-up
    teacher_temperature: Ramp
    warm_up: float = 0.1
    last_rate: float | None = None  # None: constant after the warm-up
    decay: tuple[float, float] = (0.04, 0.4)
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0
    rate_of_patch_embedding: float = 1.0
    max_norm: float = 3.0
    clip: str = 'parameter'  # or 'module'
    freeze: float = 0.01
    freeze_by: str = 'gradient'  # or 'rate'
    momentum: tuple[float, float] = (0.996, 1.0)
    student_temperature: float = 0.1
    balanced: bool = False  # Sinkhorn-Knopp instead of centring
    trains_magnitudes: bool = True
    local_weight: Ramp = CONSTANT
    patch_head: str | None = None  # of iBOT's loss
    koleo: float = 0.0
    koleo_group: int | None = None
    gram: Ramp | None = None
    refresh: tuple[float, ...] = ()  # of Gram's anchor


class PlainTraining:
    """Student, teacher, AdamW's moments and centres, as dictionaries by name."""

    def __init__(self, network: nn.Module, student: Weights, numbers: Numbers, steps: int) -> None:
        self.network = network.eval()
        self.student = {name: weight.clone() for name, weight in student.items()}
        self.teacher = {name: weight.clone() for name, weight in student.items()}
        self.anchor, self.refreshes = dict(self.teacher), 0
        self.numbers, self.steps, self.step = numbers, steps, 0
        self.moments: dict[str, tuple[Tensor, Tensor, int]] = {}
        self.centre: dict[str, Tensor | float] = {'dino': 0.0, 'ibot': 0.0}
        self.clipped: list[bool] = []  # whether each norm was above the limit

    def train(self, views) -> None:
        """One step, on global_views, local_views, masks and anchor_views."""
        n, p = self.numbers, self.step / self.steps
        names = [name for name in self.student if n.trains_magnitudes or not name.endswith('original0')]
        student = {name: weight.detach().requires_grad_(name in names) for name, weight in self.student.items()}
        gradients = torch.autograd.grad(self.loss(student, views, p), [student[name] for name in names])
        self.update_student(dict(zip(names, gradients)), p)
        momentum = cosine(*n.momentum, p)
        for name, weight in self.student.items():
            self.teacher[name] = momentum * self.teacher[name] + (1 - momentum) * weight
        due = sum(point <= p for point in n.refresh)
        if due > self.refreshes:
            self.anchor, self.refreshes = dict(self.teacher), due
        self.step += 1

    def loss(self, student: Weights, views, p: float) -> Tensor:
        n = self.numbers
        masks = [None] * 2 if views.masks is None else views.masks
        seen = [self.tokens(student, view, mask) for view, mask in zip(views.global_views, masks)]
        local = [self.tokens(student, view, local=True) for view in views.local_views]
        with torch.no_grad():
            taught = [self.tokens(self.teacher, view) for view in views.global_views]
        loss = self.dino(student, [c for c, _ in seen + local], [c for c, _ in taught], p)
        if n.patch_head:
            loss = loss + self.ibot(student, [x for _, x in seen], [x for _, x in taught], views.masks, p)
        if n.koleo:
            loss = loss + n.koleo * sum(koleo(c, n.koleo_group or len(c)) for c, _ in seen)
        if n.gram:
            with torch.no_grad():
                anchored = [self.tokens(self.anchor, view)[1] for view in views.anchor_views]
            loss = loss + n.gram(p) * sum(gram(x, a) for (_, x), a in zip(seen, anchored)) / 2
        return loss

    def tokens(self, weights: Weights, images: Tensor, mask: Tensor | None = None, local: bool = False):
        """Normalised class token, and patches on their grid, of one view of all images."""
        network, last = self.network, {}

        def hide(module, inputs, patches):  # before positions are added
            return torch.where(mask[..., None], weights['backbone.mask_token'], patches)

        def keep(module, inputs, output):
            last['unnormalised'], last['tokens'] = inputs[0], output

        with ExitStack() as hooks:
            hooks.enter_context(network.norm.register_forward_hook(keep))
            if mask is not None:
                hooks.enter_context(network.patch_embed.register_forward_hook(hide))
            prefix = 'backbone.model.'
            own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
            functional_call(network, own, (images,))
        class_token = last['tokens'][:, 0]
        if local and 'backbone.local_norm.weight' in weights:
            scale, shift = weights['backbone.local_norm.weight'], weights['backbone.local_norm.bias']
            class_token = layer_norm(last['unnormalised'][:, 0], scale.shape, scale, shift, network.norm.eps)
        rows = images.shape[-2] // network.patch_embed.patch_size[0]
        return class_token, last['tokens'][:, network.num_prefix_tokens :].unflatten(1, (rows, -1))

    def dino(self, weights: Weights, student: list[Tensor], teacher: list[Tensor], p: float) -> Tensor:
        """Mean cross-entropy over all pairs of a teacher's view and another view of the student."""
        n = self.numbers
        predictions = [self.log_probabilities(weights, 'cls', tokens) for tokens in student]
        targets = self.targets('dino', 'cls', torch.cat(teacher), p).chunk(len(teacher))
        pairs = [(s, t) for s in range(len(student)) for t in range(len(teacher)) if s != t]
        total = 0.0
        for s, t in pairs:
            weight = 1.0 if s < len(teacher) else n.local_weight(p)
            total = total - weight * (targets[t] * predictions[s]).sum(dim=1).mean()
        return total / len(pairs)

    def ibot(self, weights: Weights, student: list[Tensor], teacher: list[Tensor], masks: Tensor, p: float) -> Tensor:
        """Cross-entropy at the masked patches: mean over those of a view, then over all views of all images."""
        head = self.numbers.patch_head
        chosen = [mask for view in masks for mask in view]
        seen, taught = ([patches for view in tokens for patches in view] for tokens in (student, teacher))
        targets = self.targets('ibot', head, torch.cat([x[mask] for x, mask in zip(taught, chosen)]), p)
        counts = [int(mask.sum()) for mask in chosen]
        total = torch.zeros((), dtype=targets.dtype)
        for x, mask, target in zip(seen, chosen, targets.split(counts)):
            if mask.any():
                total = total - (target * self.log_probabilities(weights, head, x[mask])).sum(dim=1).mean()
        return total / len(chosen)

    def log_probabilities(self, weights: Weights, head: str, tokens: Tensor) -> Tensor:
        logits = scores(weights, head, tokens) / self.numbers.student_temperature
        return logits - logits.exp().sum(dim=1, keepdim=True).log()

    @torch.no_grad()
    def targets(self, loss: str, head: str, tokens: Tensor, p: float) -> Tensor:
        """The teacher's distributions; with the centre from before this step, which then moves."""
        found, temperature = scores(self.teacher, head, tokens), self.numbers.teacher_temperature(p)
        if self.numbers.balanced:
            return sinkhorn_knopp(found, temperature)
        exponentials = ((found - self.centre[loss]) / temperature).exp()
        self.centre[loss] = 0.9 * self.centre[loss] + 0.1 * found.mean(dim=0)
        return exponentials / exponentials.sum(dim=1, keepdim=True)

    def update_student(self, gradients: Weights, p: float) -> None:
        """Freeze, clip, then AdamW."""
        n = self.numbers
        frozen = [name for name in gradients if '.last_layer.' in name and p < n.freeze]
        if n.freeze_by == 'gradient':
            gradients = {name: gradient for name, gradient in gradients.items() if name not in frozen}
        parts: dict[str, list[str]] = {}
        for name in gradients:
            module = name.split('.')[0] if name.startswith('backbone') else '.'.join(name.split('.')[:2])
            parts.setdefault(name if n.clip == 'parameter' else module, []).append(name)
        for part in parts.values():
            norm = sum(gradients[name].square().sum() for name in part).sqrt()
            self.clipped.append(bool(norm > n.max_norm))
            for name in part:
                gradients[name] = gradients[name] * min(1.0, n.max_norm / (norm + 1e-6))
        for name, gradient in gradients.items():
            rate = 0.0 if name in frozen else self.rate(name, p)
            decay = 0.0 if name.endswith('bias') or gradient.ndim == 1 else cosine(*n.decay, p)
            self.adamw(name, gradient, rate, decay)

    def rate(self, name: str, p: float) -> float:
        n = self.numbers
        after = cosine(n.rate, n.rate if n.last_rate is None else n.last_rate, (p - n.warm_up) / (1 - n.warm_up))
        rate = n.rate * p / n.warm_up if p < n.warm_up else after
        depth = len(self.network.blocks)
        layer = depth + 1  # heads and last normalisation
        if name.startswith('backbone.model.blocks.'):
            layer = int(name.split('.')[3]) + 1
        elif any(part in name for part in ('patch_embed', 'pos_embed', '_token')):
            layer = 0
        embeds = n.rate_of_patch_embedding if 'patch_embed' in name else 1.0
        return rate * n.layer_decay ** (depth + 1 - layer) * embeds

    def adamw(self, name: str, gradient: Tensor, rate: float, decay: float) -> None:
        first, second, count = self.moments.get(name, (0.0, 0.0, 0))
        b1, b2 = self.numbers.betas
        first, second = b1 * first + (1 - b1) * gradient, b2 * second + (1 - b2) * gradient**2
        self.moments[name] = first, second, count + 1
        step = (first / (1 - b1 ** (count + 1))) / ((second / (1 - b2 ** (count + 1))).sqrt() + 1e-8)
        self.student[name] = self.student[name] - rate * decay * self.student[name] - rate * step
