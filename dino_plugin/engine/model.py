"""The mmengine model around :class:`~dino_plugin.core.distillation.SelfDistillation`."""

from jaxtyping import Float
from mmengine.model import BaseModel
from torch import Tensor

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.views import Tokens, ViewBatch
from dino_plugin.engine.build import build
from dino_plugin.registry import MODELS, TASK_UTILS


class SelfDistillationModel(BaseModel):
    """Configs of a backbone, heads and losses -> a model that mmengine's runner trains.

    Training refuses to start without :class:`~dino_plugin.engine.hooks.ema_teacher.EMATeacherHook`, which tells the
    model its progress and moves the teacher.

    Args:
        backbone: Config of a backbone, such as ``dict(type='dino_plugin.TimmBackbone', model_name=...)``.
        heads: Configs by name; ``in_dim`` (``input_dim`` of Lightly's heads) is filled in.
        losses: Configs by name; a loss refers to a head by its name, and ``prototypes`` of its target are filled in.
        momentum: Share of the teacher that is kept at each step: a number or the config of a schedule.
        data_preprocessor: Config, as in mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict],
        losses: dict[str, dict],
        momentum: dict | float,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        student = build(MODELS, backbone)
        built_heads = {
            name: build(MODELS, head, in_dim=student.embed_dim, input_dim=student.embed_dim)
            for name, head in heads.items()
        }
        known = {name: {'prototypes': getattr(head, 'prototypes', None)} for name, head in built_heads.items()}
        built_losses = {name: build(MODELS, loss, **known.get(loss.get('head'), {})) for name, loss in losses.items()}
        momentum = build(TASK_UTILS, momentum) if isinstance(momentum, dict) else momentum
        self.distillation = SelfDistillation(student, built_heads, built_losses, momentum)
        self.progress: float | None = None

    def init_weights(self) -> None:
        """Nothing: weights are made, or loaded, when the parts are built, and the teacher copies them there.

        mmengine calls this before training; initialising again would part the student from its teacher.
        """

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
