"""The mmengine model around :class:`~dino_plugin.core.distillation.SelfDistillation`."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from jaxtyping import Float
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from dino_plugin.core.deferred import DeferredWeights
from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.views import Tokens, ViewBatch
from dino_plugin.engine.distributed.deferred_networks import DeferredNetworks
from dino_plugin.engine.training.build import build
from dino_plugin.engine.training.frozen_teacher import (
    build_frozen_teacher,
    build_heads,
    output_widths,
    with_built_teachers,
)
from dino_plugin.engine.training.nested_heads import with_nested_heads
from dino_plugin.registry import MODELS, TASK_UTILS
from dino_plugin.weights.teacher import load_teacher


class SelfDistillationModel(BaseModel):
    """Configs of a backbone, heads and losses -> a model that mmengine's runner trains.

    Training refuses to start without `EMATeacherHook`, which sets the model's progress and moves the teacher.

    In a later stage of a training, at a higher resolution or with another loss, student and teacher start from the
    teacher of the previous stage: ``checkpoint``. Anchors of losses are copies of that teacher; statistics of targets
    (``Centering``) start anew. mmengine's ``load_from`` loads student, teacher and statistics as they were. It and
    ``resume`` are refused if student or teacher would keep random weights.

    With a ``frozen_teacher`` the student learns from another network. Checkpoints of this training do not contain it,
    so its file is needed whenever the model is built.

    Args:
        backbone: Config of a backbone, such as ``dict(type='dino_plugin.TimmBackbone', model_name=...)``.
        heads: Configs by name; ``in_dim`` (``input_dim`` of Lightly's heads) is filled in.
        losses: Configs by name; a loss names its head, and ``prototypes`` of its target are filled in. A loss may have
            a frozen network of its own, the config ``teacher``; ``out_dim`` of the heads that it names is its width.
        momentum: Share of the teacher that is kept at each step: a number or the config of a schedule.
        checkpoint: Checkpoint of a training of this package with these heads; its teacher starts student and teacher.
        frozen_teacher: ``dict(checkpoint=..., heads=..., backbone=...)``, see `build_frozen_teacher`.
        nested_shares: The same losses once more on these shares of the features, see `with_nested_heads`.
        num_images: Images of the training, filled in wherever these configs need the number, see
            :mod:`~dino_plugin.engine.training.for_images`; otherwise it changes nothing.
        defer_weights: Draw the weights of student and teacher when `FullyShard` has cut the networks, one tensor at a
            time, so that no process ever holds a whole network. They do not depend on the number of processes, and
            differ from those that are drawn at once.
        data_preprocessor: Config or module, as in mmengine.

    Raises:
        ValueError: If the backbone has its own weights in addition to ``checkpoint`` or with ``defer_weights``, or a
            file does not fit.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict],
        losses: dict[str, dict],
        momentum: dict | float,
        checkpoint: str | None = None,
        frozen_teacher: dict | None = None,
        nested_shares: Sequence[float] = (),
        num_images: int | None = None,
        defer_weights: bool = False,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        if defer_weights and (checkpoint or backbone.get('checkpoint') or backbone.get('pretrained')):
            raise ValueError(
                'SelfDistillationModel: defer_weights=True draws new weights; to start from others, remove checkpoint '
                'and pretrained, and give load_from a folder of a sharded training, which each process reads in parts.'
            )
        if checkpoint and (backbone.get('checkpoint') or backbone.get('pretrained')):
            raise ValueError(
                f'SelfDistillationModel: checkpoint={checkpoint!r} holds the weights of the backbone too; remove '
                'checkpoint and pretrained from `backbone`, or, to start with new heads, keep only those.'
            )
        heads, losses = with_nested_heads(heads, losses, nested_shares)
        self.num_images = num_images
        known = dict(num_images=num_images)
        losses = with_built_teachers(losses, **known)
        self.deferred = DeferredWeights() if defer_weights else None
        with self.deferred or nullcontext():
            student = build(MODELS, backbone, **known)
            built_heads = build_heads(heads, student, output_widths(losses), **known)
        if checkpoint:
            load_teacher(student, built_heads, checkpoint)
        of_head = {name: {'prototypes': getattr(head, 'prototypes', None)} for name, head in built_heads.items()}
        known_to_losses = known | {
            f'views_{name}': getattr(self.data_preprocessor, name).tolist()
            for name in ('mean', 'std')
            if hasattr(self.data_preprocessor, name)
        }
        built_losses = {
            name: build(MODELS, loss, **known_to_losses, **of_head.get(loss.get('head'), {}))
            for name, loss in losses.items()
        }
        momentum = build(TASK_UTILS, momentum, **known) if isinstance(momentum, dict) else momentum
        built_frozen_teacher = build_frozen_teacher(built_heads, **known | frozen_teacher) if frozen_teacher else None
        self.distillation = SelfDistillation(student, built_heads, built_losses, momentum, built_frozen_teacher)
        self.progress: float | None = None
        self.register_state_dict_post_hook(_without_frozen_teacher)
        self.register_load_state_dict_pre_hook(_refuse_other_networks)

    def to(self, *args: Any, **kwargs: Any) -> nn.Module:
        """mmengine's; weights that are not drawn yet are drawn first."""
        if self.deferred is not None:
            DeferredNetworks(self).draw('cpu')
        return super().to(*args, **kwargs)

    def init_weights(self) -> None:
        """Do nothing: the parts have their weights when they are built, and the teacher is a copy of the student.

        mmengine calls this before training; new weights in the student would differ from the teacher's.
        """

    def parts_to_shard(self) -> list[nn.Module]:
        """Backbones and heads of all networks, and networks of losses, for `FullyShard`."""
        own = self.distillation
        networks = [each for each in (own.student, own.teacher, own.frozen_teacher) if each is not None]
        of_networks = [part for each in networks for part in (each.backbone, *each.heads.values())]
        return of_networks + [part for loss in own.losses.values() for part in loss.children()]

    def forward(self, views: ViewBatch, mode: str = 'tensor') -> dict[str, Float[Tensor, '']] | Tokens:
        """Losses by name in mode 'loss'; otherwise the teacher's tokens of the global views.

        Raises:
            RuntimeError: If no hook moves the teacher.
        """
        if mode != 'loss':
            return self.distillation.teacher.backbone(views.global_views)
        if self.progress is None:
            raise RuntimeError(
                'Nothing moves the teacher: it would stay as it is for the whole training. '
                "Add custom_hooks=[dict(type='dino_plugin.EMATeacherHook')] to the config."
            )
        losses = self.distillation(views, self.progress)
        return {f'loss_{name}': loss for name, loss in losses.items()}


def unwrapped(model: nn.Module) -> Any:
    """The model itself, without mmengine's wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model


_FROZEN, _NETWORKS = 'distillation.frozen_teacher.', ('distillation.student.', 'distillation.teacher.')


def _without_frozen_teacher(model: SelfDistillationModel, state: dict[str, Tensor], prefix: str, _) -> None:
    for key in [key for key in state if key.startswith(prefix + _FROZEN)]:
        del state[key]


def _refuse_other_networks(model: SelfDistillationModel, state: dict[str, Tensor], prefix: str, *_) -> None:
    """Raise a ValueError where mmengine would load what fits, log the rest, and train it from random weights."""
    own = {f'{prefix}{key}': value for key, value in model.state_dict().items() if key.startswith(_NETWORKS)}
    wrong = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise ValueError(
            f'Of the {len(own)} tensors of student and teacher {len(wrong)} are not in the checkpoint, or have another '
            f'shape there: {", ".join(wrong[:3])}… load_from and --resume need the same networks. To start from an '
            'earlier stage use model=dict(checkpoint=...), from a backbone model=dict(backbone=dict(checkpoint=...)).'
        )
    if model.distillation.frozen_teacher is not None:  # a strict load looks for it
        state.update(model.distillation.frozen_teacher.state_dict(prefix=prefix + _FROZEN))
