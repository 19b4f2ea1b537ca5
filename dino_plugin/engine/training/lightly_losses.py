"""Lightly's losses on this engine: SimCLR, MoCo, BYOL and others that compare two views, and SwAV.

Lightly's code computes them; the code here prepares their inputs. Criteria and heads are named in configs by dotted
names, such as ``dict(type='lightly.loss.NTXentLoss')``, so nothing here imports Lightly.
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

    With a predictor keys have no gradient, also those of the student: this is SimSiam's stop-gradient. A head gets one
    view at a time, as in Lightly's examples, since its batch norms depend on that.

    A queue (Lightly's memory bank) is filled with the keys. Checkpoints contain it, which Lightly alone does not do.
    With a queue all pairs go through the criterion in one call; in a second call the images would find their own keys
    among the negatives. With several processes a queue needs ``gather_distributed=True``. Otherwise each process has
    its own, and checkpoints contain only that of the first.

    MoCo v3's own loss compares a query with the keys of the batch. ``NTXentLoss`` is Lightly's closest loss; it also
    compares a query with the other queries, and each key with all queries and the other keys.

    Args:
        criterion: ``criterion(queries, keys) -> loss`` of two tensors ``batch dim``.
        projector: Name of the head for class tokens, whose outputs are compared.
        predictor: Name of a head after it, for queries only.
        keys: Network of the keys: 'teacher' or 'student'. With 'student' the teacher is not run.
        symmetric: Let both views of a pair be the query. Not needed if the criterion is symmetric.
        weight: Factor of the term.

    Raises:
        TypeError: If the criterion is not a module.
        ValueError: If ``keys`` is another word; when called, if there is only one global view.

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
        self.has_queue = _save_queue(self.criterion)

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The criterion of all pairs, always in float32; fills the queue, if there is one."""
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
        if self.has_queue:
            pairs = [tuple(torch.cat(side) for side in zip(*pairs))]
        with torch.autocast(queries[0].device.type, enabled=False):
            return torch.stack([self.criterion(query, key) for query, key in pairs]).mean()


class LightlySwAVLoss(Loss):
    """SwAV: each view predicts the prototypes of the global views of the same image.

    z_v = projector(student's view v)
    s_v = prototypes(z_v / |z_v|)
    L = criterion([s_v of the global views], [s_v of the local views])

    The prototypes are normalised to length 1 before each forward pass, as in Lightly's example. Unlike the authors'
    prototypes they have a bias, which is not normalised. There is no teacher: with ``momentum=0.0`` in the model the
    "teacher" that is evaluated and exported is the student. There is no queue of earlier batches, which the authors
    need for batches of 256 images.

    To freeze the prototypes at first, as the authors do, name their head ``last_layer`` and set ``freeze_last_layer``
    in the optimiser wrapper. Lightly's own ``n_steps_frozen_prototypes`` stays 0.

    Args:
        criterion: ``criterion(global scores, local scores) -> loss`` of two lists of tensors ``batch prototypes``:
            ``lightly.loss.SwaVLoss``.
        projector: Name of the head for class tokens, whose outputs are compared with prototypes.
        prototypes: Name of the head ``lightly.models.modules.heads.SwaVPrototypes``, which has a ``normalize()``.
        weight: Factor of the term.

    Raises:
        TypeError: If the criterion is not a module.

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
        """Cross-entropy in nats, always in float32."""
        projector, prototypes = step.student_heads[self.projector], step.student_heads[self.prototypes]
        views = _each_view(projector, step.student_global.class_token)
        num_global = len(views)
        if step.student_local is not None:
            views += _each_view(projector, step.student_local.class_token)
        with torch.autocast(views[0].device.type, enabled=False):
            prototypes.normalize()
            scores = [prototypes(normalize(view, dim=1)) for view in views]
            return self.criterion(scores[:num_global], scores[num_global:]).squeeze()  # Lightly's has shape (1,)


def _each_view(
    head: nn.Module, class_tokens: Float[Tensor, 'views batch dim']
) -> list[Float[Tensor, 'batch projection_dim']]:
    return [head(view).float() for view in class_tokens]


def _module(criterion: object, loss: str, example: str) -> nn.Module:
    if not isinstance(criterion, nn.Module):
        raise TypeError(f'{loss}: criterion={criterion!r} is no module; give a config such as dict(type={example!r}).')
    return criterion


def _save_queue(criterion: nn.Module) -> bool:
    """Make a queue part of the state dict, which Lightly leaves out; tell whether there is one."""
    bank = getattr(criterion, 'memory_bank', None)
    if bank is None or bank.size[0] == 0:
        return False
    for name, tensor in list(bank.named_buffers()):
        bank.register_buffer(name, tensor, persistent=True)
    return True
