"""Clusters of the teacher's patches, learnt as training goes on, which the student predicts where it sees nothing."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.ibot import masked_patch_entropy
from dino_plugin.core.losses.soft_targets import soft_cross_entropy, temperature_schedule
from dino_plugin.core.schedules import Schedule


class _OfClusters(Loss):
    """What both terms have: a target and two temperatures."""

    def __init__(
        self,
        heads: Sequence[str],
        target: nn.Module,
        temperature: float,
        target_temperature: Schedule | float,
        weight: Schedule | float,
    ) -> None:
        super().__init__(weight, heads)
        name = type(self).__name__
        if temperature <= 0:
            raise ValueError(f'{name}: temperature={temperature} must be positive.')
        self.target = target
        self.temperature = temperature
        self.target_temperature = temperature_schedule(target_temperature, f'{name}: target_temperature')


class ClusteringLoss(_OfClusters):
    """Learns clusters of the teacher's patches: cross-entropy of the scores with their own balanced assignment.

    s_j = head(z_j),   q = target(s / target_temperature)            z_j: every patch of the teacher
    L = -1/n sum_j sum_k q[j, k] log softmax(s_j / temperature)[k]

    Only the head learns by it: neither the teacher's patches nor q carry a gradient. The head is the student's, because
    that is the one that the optimiser trains; its moving average in the teacher is not used.

    Args:
        head: Name of the head that clusters, such as a `ClusterHead`.
        target: Turns scores into assignments: ``PositionwiseSinkhornKnopp``, or ``SinkhornKnopp``.
        temperature: Divides the scores in the cross-entropy.
        target_temperature: Divides the scores before the assignment; a number or a schedule.
        weight: Factor of the term.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769, section 3, with these temperatures.
    """

    reads_patches = ('teacher_global',)

    def __init__(
        self,
        head: str,
        target: nn.Module,
        temperature: float = 0.12,
        target_temperature: Schedule | float = 0.06,
        weight: Schedule | float = 1.0,
    ) -> None:
        super().__init__([head], target, temperature, target_temperature, weight)
        self.head = head

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in nats."""
        scores = step.student_heads[self.head](step.teacher_global.patches)
        assigned = self.target(scores.detach(), self.target_temperature(step.progress))
        scores, assigned = scores.flatten(end_dim=-2)[None], assigned.flatten(end_dim=-2)[None]
        weights = assigned.new_full(scores.shape[:2], 1 / scores.shape[1])
        return soft_cross_entropy(scores, assigned, weights, self.temperature, targets_of=[(0,)])


class ClusterPredictionLoss(_OfClusters):
    """Cross-entropy at the masked patches, between a predictor and the clusters of what the teacher sees there.

    p_j = predictor(visible tokens of the student, position of j),   q = target(clusters(z) / target_temperature)
    L = -1/n sum_i 1/|M_i| sum_{j in M_i} sum_k q[j, k] log softmax(p_j / temperature)[k]

    The mean is that of `IBOTPatchLoss`. The assignment is made over all patches, masked or not.

    Args:
        head: Name of the predictor, ``head(tokens, masks) -> scores of the masked patches``, such as a
            `PatchPredictor`.
        clusters: Name of the head that clusters, which a `ClusteringLoss` trains.
        target: As in `ClusteringLoss`; an object of its own.
        temperature: Divides the predictor's scores.
        target_temperature: Divides the scores of the clusters; a number or a schedule.
        weight: Factor of the term.

    Raises:
        ValueError: If the temperature is not positive; from ``forward``, if the batch has no masks.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769, section 3.
    """

    reads_patches = ('student_global', 'teacher_global')

    def __init__(
        self,
        head: str,
        clusters: str,
        target: nn.Module,
        temperature: float = 0.12,
        target_temperature: Schedule | float = 0.06,
        weight: Schedule | float = 1.0,
    ) -> None:
        super().__init__([head, clusters], target, temperature, target_temperature, weight)
        self.head = head
        self.clusters = clusters

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in nats; 0 if no patch is masked."""
        masks, chosen = step.views.masks, step.views.mask_indices
        if masks is None:
            raise ValueError(
                'ClusterPredictionLoss: the batch has no masks; set collate_fn=dict(type="dino_plugin.masked_collate", '
                'patch_size=..., inverse=True) in the dataloader, and mask_token=True in the backbone.'
            )
        scores = step.student_heads[self.clusters](step.teacher_global.patches).detach()
        assigned = self.target(scores, self.target_temperature(step.progress)).flatten(end_dim=-2)[chosen]
        predicted = step.student_heads[self.head](step.student_global, masks)
        image = chosen // masks[0, 0].numel()
        return masked_patch_entropy(predicted, assigned, image, masks[:, :, 0, 0].numel(), self.temperature)
