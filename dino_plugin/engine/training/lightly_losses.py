"""Lightly's losses on this engine: SimCLR, MoCo, BYOL and others that compare two views, and SwAV.

Lightly's code computes them; here stands only what it is given. Criteria and heads come from configs by their dotted
names, such as ``dict(type='lightly.loss.NTXentLoss')``, so that nothing here imports Lightly.
"""

from itertools import combinations, permutations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.schedules import Schedule


class LightlyPairLoss(Loss):
    """A criterion of Lightly between every two global views of an image, on class tokens.

    z_i = projector(student's view i),           q_i = predictor(z_i), or z_i without a predictor
    k_j = teacher's projector(teacher's view j), or z_j with the student's keys
    L = mean of criterion(q_i, k_j) over the pairs i != j, or over the pairs i < j if not symmetric

    ==================  ====================================  =========  =========  =========
    method              criterion                             predictor  keys       symmetric
    ==================  ====================================  =========  =========  =========
    SimCLR              ``NTXentLoss``                        no         student    no
    Barlow Twins        ``BarlowTwinsLoss``                   no         student    no
    MoCo v2             ``NTXentLoss(memory_bank_size=...)``  no         teacher    no
    MoCo v3 (nearly)    ``NTXentLoss``                        yes        teacher    yes
    BYOL                ``NegativeCosineSimilarity``          yes        teacher    yes
    SimSiam             ``NegativeCosineSimilarity``          yes        student    yes
    ==================  ====================================  =========  =========  =========

    With a predictor keys never carry a gradient, the student's neither: that is SimSiam's stop. Heads see one view at a
    time, as in Lightly's examples, which matters to their batch norms.

    A memory bank is filled with the keys, and is saved in checkpoints, which Lightly's is not by itself. All pairs then
    go through the criterion in one call: in a second one the images would find their own keys among the negatives. In
    several processes a bank needs ``gather_distributed=True``; without, each has its own, and a checkpoint only the
    first one's.

    MoCo v3's own loss compares a query with the keys of the batch. ``NTXentLoss``, the closest that Lightly has,
    compares it with the other queries too, and each key with all queries and the other keys.

    Args:
        criterion: ``criterion(queries, keys) -> loss`` of two tensors ``batch dim``.
        projector: Name of the head that turns class tokens into what is compared.
        predictor: Name of a head behind it, for queries only.
        keys: Whose projections a query is compared with: 'teacher' or 'student'. With 'student' the teacher is not run.
        symmetric: Let both views of a pair be the query. Not needed where the criterion treats both sides alike.
        weight: Factor of the term.

    Raises:
        TypeError: If the criterion is no module.
        ValueError: If ``keys`` is neither; from ``forward``, if there is one global view only.

    References:
        SimCLR: Chen et al. 2020, arXiv:2002.05709. MoCo v2: Chen et al. 2020, arXiv:2003.04297. MoCo v3: Chen et al.
        2021, arXiv:2104.02057, algorithm 1. BYOL: Grill et al. 2020, arXiv:2006.07733. SimSiam: Chen & He 2020,
        arXiv:2011.10566. Barlow Twins: Zbontar et al. 2021, arXiv:2103.03230.
    """

    reads_patches = ()

    def __init__(
        self,
        criterion: object,
        projector: str,
        predictor: str | None = None,
        keys: str = 'teacher',
        symmetric: bool = True,
        weight: Schedule | float = 1.0,
    ) -> None:
        super().__init__(weight, [projector] if predictor is None else [projector, predictor])
        if keys not in ('teacher', 'student'):
            raise ValueError(f"LightlyPairLoss: keys={keys!r} must be 'teacher' or 'student'.")
        self.criterion = _module(criterion, 'LightlyPairLoss', 'lightly.loss.NTXentLoss')
        self.projector, self.predictor = projector, predictor
        self.uses_teacher = keys == 'teacher'
        self.pairs = permutations if symmetric else combinations
        self.has_bank = _keep_memory_bank(self.criterion)

    def forward(self, step: Step) -> Float[Tensor, '']:
        """What the criterion says, in float32 under any autocast; fills a memory bank."""
        queries = _each_view(step.student_heads[self.projector], step.student_global.class_token)
        keys = queries
        if self.uses_teacher:
            keys = _each_view(step.teacher_heads[self.projector], step.teacher_global.class_token)
        if self.predictor is not None:
            queries = [step.student_heads[self.predictor](query).float() for query in queries]
            keys = [key.detach() for key in keys]
        pairs = [(queries[i], keys[j]) for i, j in self.pairs(range(len(queries)), 2)]
        if not pairs:
            raise ValueError('LightlyPairLoss: one global view makes no pair; MultiCrop gives two.')
        if self.has_bank:
            pairs = [tuple(torch.cat(side) for side in zip(*pairs))]
        with torch.autocast(queries[0].device.type, enabled=False):
            return torch.stack([self.criterion(query, key) for query, key in pairs]).mean()


class LightlySwAVLoss(Loss):
    """SwAV: each view predicts to which prototypes the global views of the same image are assigned.

    z_v = projector(student's view v)
    s_v = prototypes(z_v / |z_v|)
    L = criterion([s_v of the global views], [s_v of the local views])

    The prototypes are brought back to length 1 before each forward pass, as in Lightly's example; unlike the authors'
    they have a bias, which is not. There is no teacher: with ``momentum=0.0`` in the model the "teacher" that is
    evaluated and exported is the student. There is no queue of earlier batches either, which the authors need for
    batches of 256 images.

    To keep the prototypes still at first, as the authors do, call their head ``last_layer`` and set the
    ``freeze_last_layer`` of the optimiser's wrapper; Lightly's own ``n_steps_frozen_prototypes`` stays 0.

    Args:
        criterion: ``criterion(global scores, local scores) -> loss`` of two lists of tensors ``batch prototypes``:
            ``lightly.loss.SwaVLoss``.
        projector: Name of the head that turns class tokens into what is compared with prototypes.
        prototypes: Name of the head of ``lightly.models.modules.heads.SwaVPrototypes``; it has a ``normalize()``.
        weight: Factor of the term.

    Raises:
        TypeError: If the criterion is no module.

    References:
        Caron et al. 2020, arXiv:2006.09882.
    """

    uses_teacher = False
    reads_patches = ()

    def __init__(self, criterion: object, projector: str, prototypes: str, weight: Schedule | float = 1.0) -> None:
        super().__init__(weight, [projector, prototypes])
        self.criterion = _module(criterion, 'LightlySwAVLoss', 'lightly.loss.SwaVLoss')
        self.projector, self.prototypes = projector, prototypes

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Cross-entropy in nats, in float32 under any autocast."""
        projector, prototypes = step.student_heads[self.projector], step.student_heads[self.prototypes]
        views = _each_view(projector, step.student_global.class_token)
        num_global = len(views)
        if step.student_local is not None:
            views += _each_view(projector, step.student_local.class_token)
        with torch.autocast(views[0].device.type, enabled=False):
            prototypes.normalize()
            scores = [prototypes(normalize(view, dim=1)) for view in views]
            return self.criterion(scores[:num_global], scores[num_global:]).squeeze()  # Lightly's has an axis of one


def _each_view(
    head: nn.Module, class_tokens: Float[Tensor, 'views batch dim']
) -> list[Float[Tensor, 'batch projection_dim']]:
    return [head(view).float() for view in class_tokens]


def _module(criterion: object, loss: str, example: str) -> nn.Module:
    if not isinstance(criterion, nn.Module):
        raise TypeError(f'{loss}: criterion={criterion!r} is no module; give a config such as dict(type={example!r}).')
    return criterion


def _keep_memory_bank(criterion: nn.Module) -> bool:
    """Whether there is one; from now on ``state_dict`` has it, which Lightly leaves out."""
    bank = getattr(criterion, 'memory_bank', None)
    if bank is None or bank.size[0] == 0:
        return False
    for name, tensor in list(bank.named_buffers()):
        bank.register_buffer(name, tensor, persistent=True)
    return True
