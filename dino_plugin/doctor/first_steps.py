"""The first steps of the real training: what is measured in each."""

import math
from collections.abc import Mapping

import torch

from dino_plugin.core.distillation import SelfDistillation

COPIED = ('loss', 'grad_norm', 'effective_rank', 'feature_std', 'data_time', 'time')  # scalars of the log


class FirstSteps:
    """Numbers of each step, by name; some are measured at a part of the steps.

    Of the log: `COPIED`. Of all parameters, as vectors s (student) and t (teacher), if a loss uses the teacher:

        distance = |s - t| / |t|
        pace     = distance / share of the highest learning rate that the step had; so a warm-up changes little

    Of each loss with targets q over K prototypes, the student's answers p, and n global views in a batch:

        sharpness    1 - H(q) / ln K                0: a target is flat; 1: it is one prototype
        information  I(image; q) / ln min(n, K)     0: all images have the same target
        divergence   (H(q, p) - H(q)) / ln K        how far the student is from its targets; of class tokens alone,
                                                    as a loss of masked patches leaves out images

    Args:
        distillation: Of the training.
        views: Global views in a batch.
    """

    def __init__(self, distillation: SelfDistillation, views: int) -> None:
        self.distillation, self.views = distillation, views
        self.numbers: dict[str, list[float]] = {}

    def note(self, scalars: Mapping[str, float], progress: float, rate: float) -> None:
        """Keep the numbers of a step.

        Args:
            scalars: Of the log, without 'train/', as far as they were measured in this step.
            progress: Before the step.
            rate: Share of the highest learning rate, in [0, 1].
        """
        found = {name: scalars[name] for name in COPIED if name in scalars}
        if self.distillation.uses_teacher:
            found['distance'] = self._distance()
            if rate:
                found['pace'] = found['distance'] / rate
        targeted = {name: loss for name, loss in self.distillation.losses.items() if hasattr(loss, 'target')}
        for name, loss in targeted.items():
            prefix = f'{name}_' if len(targeted) > 1 else ''
            prototypes = getattr(self.distillation.student.heads[loss.heads[0]], 'prototypes', None)
            if prototypes is None or f'{prefix}target_entropy' not in scalars:
                continue
            most, entropy = math.log(prototypes), scalars[f'{prefix}target_entropy']
            found[f'sharpness of {name}'] = 1 - entropy / most
            information = scalars[f'{prefix}target_information']
            found[f'information of {name}'] = information / math.log(min(self.views, prototypes))
            weight = loss.weight(progress)
            if weight and not loss.reads_patches:
                found[f'divergence of {name}'] = (scalars[f'loss_{name}'] / weight - entropy) / most
        for name, value in found.items():
            self.numbers.setdefault(name, []).append(value)

    @torch.no_grad()
    def _distance(self) -> float:
        networks = self.distillation.student, self.distillation.teacher
        student, teacher = (list(network.parameters()) for network in networks)
        apart = torch.stack(torch._foreach_norm(torch._foreach_sub(student, teacher)))
        return float(apart.norm() / torch.stack(torch._foreach_norm(teacher)).norm())
