"""A training step of ours and one of facebookresearch/dino: same weights, same views, each side's own code."""

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.benchmark.flops import Recipe
from dino_plugin.benchmark.reference import Reference
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.training.hooks.ema_teacher import EMATeacherHook
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.registry import MODELS

CONFIG = 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'
WIDTHS = dict(tiny=192, small=384, base=768)
DEPTH = 12
LEARNING_RATE = 1e-5  # small: the views are noise


def recipe_of(options: argparse.Namespace, model: str) -> Recipe:
    """What the formula of operations has to know."""
    return Recipe(
        WIDTHS[model], DEPTH, prototypes=options.prototypes, global_size=options.global_size,
        local_size=options.local_size, num_local=options.num_local,
    )  # fmt: skip


def random_views(options: argparse.Namespace, pinned: bool = False) -> ViewBatch:
    """Bytes, as they come from the data loader."""

    def block(views: int, size: int) -> Tensor:
        pixels = torch.randint(0, 256, (views, options.batch, size, size, 3), dtype=torch.uint8)
        return pixels.pin_memory() if pinned else pixels

    local_views = block(options.num_local, options.local_size) if options.num_local else None
    return ViewBatch(block(2, options.global_size), local_views)


class OurStep:
    """The model, the optimiser and the hook of our config, driven as mmengine's loop drives them.

    Args:
        options: Sizes.
        model: 'tiny', 'small' or 'base'.
        precision: Of the optimiser's wrapper: 'fp32', 'bf16' or 'fp16'.
        device: Where it runs.
        drop_path: Share of stochastic depth.
        compile_blocks: As `TimmBackbone` takes it.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        model: str,
        precision: str,
        device: str,
        drop_path: float = 0.1,
        compile_blocks: bool = False,
    ) -> None:
        config = Config.fromfile(config_path(CONFIG))
        config.model.backbone.update(
            model_name=f'vit_{model}_patch16_224', drop_path_rate=drop_path, compile_blocks=compile_blocks
        )
        config.model.heads.cls.prototypes = options.prototypes
        config.optim_wrapper.update(precision=precision, freeze_last_layer=0.0)
        config.optim_wrapper.optimizer.lr = LEARNING_RATE
        self.model = MODELS.build(config.model).to(device).train()
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
            prepared = self.model.data_preprocessor(views, True)
            return sum(self.model(**prepared, mode='loss').values())

    def gradients(self) -> dict[str, Tensor]:
        """By the reference's names of the parameters."""
        named = self.model.distillation.student.named_parameters()
        return {reference_name(name): parameter.grad for name, parameter in named if parameter.grad is not None}


class ReferenceStep:
    """The reference's networks, loss and optimiser, driven by its own ``train_one_epoch``, an epoch being one step.

    In fp32 on a CPU; on a GPU as its command does by default, in fp16 with a gradient scaler.

    Args:
        reference: The checkout.
        options: Sizes.
        model: 'tiny', 'small' or 'base'.
        device: Where it runs.
        drop_path: Share of stochastic depth.
        half: Train in fp16.
    """

    def __init__(
        self, reference: Reference, options: argparse.Namespace, model: str, device: str, drop_path: float, half: bool
    ) -> None:
        self.reference, self.device = reference, device
        vits, utils = reference.module('vision_transformer'), reference.module('utils')
        self.code = reference.module('main_dino')

        def network(**arguments: Any) -> nn.Module:
            backbone = getattr(vits, f'vit_{model}')(patch_size=16, **arguments)
            return utils.MultiCropWrapper(backbone, vits.DINOHead(WIDTHS[model], options.prototypes)).to(device)

        with reference.running_on(device):
            self.student, self.teacher = network(drop_path_rate=drop_path), network()
            self.teacher.load_state_dict(self.student.state_dict())
            self.teacher.requires_grad_(False)
            num_views = 2 + options.num_local
            self.criterion = self.code.DINOLoss(options.prototypes, num_views, 0.04, 0.04, 0, 2).to(device)
            self.optimizer = torch.optim.AdamW(utils.get_params_groups(self.student), lr=LEARNING_RATE)
        self.scaler = torch.amp.GradScaler(device) if half else None
        self.arguments = SimpleNamespace(clip_grad=3.0, freeze_last_layer=0, epochs=2)

    def __call__(self, views: list[Tensor]) -> None:
        """Normalised float views on the host -> a step of the student, a step of the teacher."""
        rates, decays, momenta = [LEARNING_RATE] * 2, [0.04] * 2, [0.996] * 2
        with self.reference.running_on(self.device):
            self.code.train_one_epoch(
                _Wrapped(self.student), self.teacher, self.teacher, self.criterion, [(views, None)], self.optimizer,
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
        named = self.student.named_parameters()
        return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


class _Wrapped(nn.Module):
    """Stands in for DistributedDataParallel: the network is its ``module``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, views: list[Tensor]) -> Tensor:
        return self.module(views)


def reference_name(name: str) -> str:
    """Of a parameter of our student -> of the reference's."""
    name = name.replace('backbone.model.', 'backbone.').replace('heads.cls.', 'head.')
    for ours, theirs in (('original0', 'weight_g'), ('original1', 'weight_v')):
        name = name.replace(f'last_layer.parametrizations.weight.{ours}', f'last_layer.{theirs}')
    return name


def as_floats(ours: OurStep, views: ViewBatch) -> list[Tensor]:
    """The same views as the reference takes them: normalised, a list, on the host."""
    prepared = ours.model.data_preprocessor(views, True)['views']
    blocks = [prepared.global_views] if prepared.local_views is None else [prepared.global_views, prepared.local_views]
    return [view.contiguous().cpu() for block in blocks for view in block]
