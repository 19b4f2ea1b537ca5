"""A training step of ours and one of facebookresearch/dino: each side's own code."""

import argparse
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

import dino_plugin.engine.vocabulary  # noqa: F401
from benchmark.reference import Reference
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.training.hooks.ema_teacher import EMATeacherHook
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.registry import MODELS

CONFIG = 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'
WIDTHS = dict(tiny=192, small=384, base=768)
LEARNING_RATE = 1e-5  # small: the views are noise


def random_views(options: argparse.Namespace) -> ViewBatch:
    """Bytes, as they come from the data loader."""

    def block(views: int, size: int) -> Tensor:
        pixels = torch.randint(0, 256, (views, options.batch, size, size, 3), dtype=torch.uint8)
        return pixels.pin_memory() if options.device == 'cuda' else pixels

    local_views = block(options.num_local, options.local_size) if options.num_local else None
    return ViewBatch(block(2, options.global_size), local_views)


class OurStep:
    """The model, the optimiser and the hook of our config, driven as mmengine's loop drives them.

    Args:
        options: Network, sizes and device.
        precision: Of the optimiser's wrapper.
        drop_path: Share of stochastic depth.
        **backbone: Other options of `TimmBackbone`.
    """

    def __init__(
        self, options: argparse.Namespace, precision: str, drop_path: float = 0.1, **backbone: bool | str
    ) -> None:
        config = Config.fromfile(config_path(CONFIG))
        config.model.backbone.update(
            model_name=f'vit_{options.model}_patch16_224', drop_path_rate=drop_path, **backbone
        )
        config.model.heads.cls.prototypes = options.prototypes
        config.optim_wrapper.update(precision=precision, freeze_last_layer=0.0)
        config.optim_wrapper.optimizer.lr = LEARNING_RATE
        self.model = MODELS.build(config.model).to(options.device).train()
        self.optim_wrapper = build_optim_wrapper(self.model, config.optim_wrapper)
        self.optim_wrapper.initialize_count_status(self.model, 0, 1000)
        self.hook = EMATeacherHook()
        self.loop = SimpleNamespace(model=self.model, optim_wrapper=self.optim_wrapper, iter=500, max_iters=1000)

    def __call__(self, views: ViewBatch) -> None:
        """Views as bytes on the host -> a step of the student, a step of the teacher."""
        self.hook.before_train_iter(self.loop, 0)
        self.model.train_step(views, self.optim_wrapper)
        self.hook.after_train_iter(self.loop, 0)

    def loss(self, views: ViewBatch) -> Tensor:
        """The loss of this step, without moving anything but the centre."""
        self.hook.before_train_iter(self.loop, 0)
        with self.optim_wrapper.optim_context(self.model):
            return sum(self.model(**self.model.data_preprocessor(views, True), mode='loss').values())

    def gradients(self) -> dict[str, Tensor]:
        """By the reference's names of the parameters."""
        return {reference_name(name): grad for name, grad in gradients_of(self.model.distillation.student).items()}


class ReferenceStep:
    """The reference's networks, loss and optimiser, driven by its own ``train_one_epoch``, an epoch being one step.

    Args:
        reference: The checkout.
        options: Network, sizes and device.
        drop_path: Share of stochastic depth.
        half: Train in fp16 with a gradient scaler, as its command does by default; on a GPU only.
    """

    def __init__(self, reference: Reference, options: argparse.Namespace, drop_path: float, half: bool) -> None:
        self.reference, self.device = reference, options.device
        code, vits = reference.main_dino, reference.vision_transformer

        def network(**arguments: Any) -> nn.Module:
            backbone = getattr(vits, f'vit_{options.model}')(patch_size=16, **arguments)
            head = vits.DINOHead(WIDTHS[options.model], options.prototypes)
            return reference.utils.MultiCropWrapper(backbone, head).to(self.device)

        with reference.running_on(self.device):
            self.student, self.teacher = network(drop_path_rate=drop_path), network()
            self.teacher.load_state_dict(self.student.state_dict())
            self.teacher.requires_grad_(False)
            self.criterion = code.DINOLoss(options.prototypes, 2 + options.num_local, 0.04, 0.04, 0, 2).to(self.device)
            self.optimizer = torch.optim.AdamW(reference.utils.get_params_groups(self.student), lr=LEARNING_RATE)
        self.scaler = torch.amp.GradScaler(self.device) if half else None
        self.arguments = SimpleNamespace(clip_grad=3.0, freeze_last_layer=0, epochs=2)

    def __call__(self, views: list[Tensor]) -> None:
        """Normalised float views on the host -> a step of the student, a step of the teacher."""
        rates, decays, momenta = [LEARNING_RATE] * 2, [0.04] * 2, [0.996] * 2
        wrapped = nn.Sequential(OrderedDict(module=self.student))  # as in DistributedDataParallel
        with self.reference.running_on(self.device):
            self.reference.main_dino.train_one_epoch(
                wrapped, self.teacher, self.teacher, self.criterion, [(views, None)], self.optimizer,
                rates, decays, momenta, 1, self.scaler, self.arguments,
            )  # fmt: skip

    def loss(self, views: list[Tensor]) -> Tensor:
        """The loss of this step in fp32, without moving anything but the centre."""
        views = [view.to(self.device) for view in views]
        with self.reference.running_on(self.device):
            return self.criterion(self.student(views), self.teacher(views[:2]), 1)

    def copy_weights(self, ours: OurStep) -> None:
        """Take over student and teacher; every name has to fit."""
        for mine, theirs in ((self.student, 'student'), (self.teacher, 'teacher')):
            state = getattr(ours.model.distillation, theirs).state_dict()
            mine.load_state_dict({reference_name(name): value for name, value in state.items()})

    def gradients(self) -> dict[str, Tensor]:
        """By name of the parameter."""
        return gradients_of(self.student)


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """By name of the parameter; of those that have one."""
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def reference_name(name: str) -> str:
    """Of a parameter of our student -> of the reference's."""
    name = name.replace('backbone.model.', 'backbone.').replace('heads.cls.', 'head.')
    for ours, theirs in (('original0', 'weight_g'), ('original1', 'weight_v')):
        name = name.replace(f'last_layer.parametrizations.weight.{ours}', f'last_layer.{theirs}')
    return name
