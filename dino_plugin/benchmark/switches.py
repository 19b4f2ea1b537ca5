"""The fast paths of a training step, each with the plain one that it replaces."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from timm.layers import Attention
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn

from dino_plugin.backbones.attention_choice import AttentionChoice
from dino_plugin.backbones.rotary_memory import RememberedPositions
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.benchmark.networks import WIDTHS
from dino_plugin.benchmark.switch import BF16, FP32, Outcome, Switch
from dino_plugin.core.distillation import Network, Teacher
from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses import dino
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.views.device_colour import change_colours

PATCH, HEAD_DIM = 16, 64
DROP_RATE = 0.3


def class_token_only(options: argparse.Namespace) -> Switch:
    """The last block for the class token, where no loss reads patches, or for all tokens."""
    run = _student(options, _backbone(options))
    return Switch(
        partial(run, patches=True), partial(run, patches=False),
        'student, last block for all tokens', 'student, last block for the class token alone',
    )  # fmt: skip


def packed_views(options: argparse.Namespace) -> Switch:
    """Both sizes through the blocks at once, or one after the other."""
    packed = _backbone(options)
    apart = _backbone(options, packed, pack_views=False)
    return Switch(
        _student(options, apart), _student(options, packed), 'student, size by size', 'student, both sizes at once'
    )


def attention(dtype: torch.dtype, options: argparse.Namespace) -> Switch:
    """One layer on both sizes, by the program that is chosen for this device and precision, and by the other."""
    dim = WIDTHS[options.model]
    layer = Attention(dim, num_heads=dim // HEAD_DIM, qkv_bias=True).to(options.device)
    choice = AttentionChoice(layer)
    views = _views(options)
    images = [size.flatten(0, 1) for size in (views.global_views, views.local_views) if size is not None]
    lengths = [1 + (one_size.shape[-1] // PATCH) ** 2 for one_size in images]
    tokens = [torch.randn(len(some), length, dim, device=options.device) for some, length in zip(images, lengths)]
    directions = [torch.randn_like(some) for some in tokens]

    def run(other: bool) -> Outcome:
        found = []
        with torch.autocast(options.device, dtype, enabled=dtype != torch.float32):
            for size, some in zip(images, tokens):
                choice.choose_for(size)
                layer.fused_attn ^= other
                found.append(layer(some))
        return _with_gradients(found, directions, list(layer.parameters()))

    run(False)
    forms = ('fused', 'written out') if layer.fused_attn else ('written out', 'fused')
    chosen, other = (f'one layer of attention, {form}, {str(dtype).removeprefix("torch.")}' for form in forms)
    rounding = FP32 if dtype == torch.float32 else BF16
    return Switch(partial(run, True), partial(run, False), other, f'{chosen}, as chosen', rounding)


def loss_backward(options: argparse.Namespace) -> Switch:
    """The cross-entropy's own gradient, or autograd's of the same formula; one target for each view in both."""
    size = options.batch, options.prototypes
    scores = (0.2 * torch.randn(2 + options.num_local, *size, device=options.device)).requires_grad_()
    targets = torch.randn(2, *size, device=options.device).mul_(5).softmax(dim=-1)

    def run(entropy: Callable[[Tensor, Tensor, float], Tensor]) -> Outcome:
        loss = entropy(scores, targets, 0.1)
        return Outcome([loss.detach()], torch.autograd.grad(loss, [scores]))

    notes = "autograd's gradient of the loss", "the loss's own gradient"
    return Switch(partial(run, _plain_entropy), partial(run, dino.cross_view_entropy), *notes)


def _plain_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """As ``cross_view_entropy``: each view is compared once with all views of the teacher that are not itself."""
    every, terms = teacher.sum(dim=0), []
    for view, scores in enumerate(student):
        target = every - teacher[view] if view < len(teacher) else every
        terms.append(-(target * (scores / temperature).log_softmax(dim=-1)).sum())
    return torch.stack(terms).sum() / (len(teacher) * (len(student) - 1) * student.shape[1])


def subset_drop_path(options: argparse.Namespace) -> Switch:
    """Residuals of the samples that are kept, or of all, of which the same share is multiplied by zero.

    Both keep the first samples of each size while they are compared, and random ones while they are timed.
    """
    subset = _backbone(options, subset_drop_path=DROP_RATE)
    plain = _backbone(options, subset)
    for block in plain.model.blocks:
        block.drop_path1, block.drop_path2 = MultipliedDropPath(), MultipliedDropPath()
    return Switch(
        _student(options, plain), _student(options, subset),
        f'student, all residuals, some times zero, rate {DROP_RATE}', 'student, residuals of a subset only',
        same_chance=partial(patch.object, torch, 'randperm', torch.arange),
    )  # fmt: skip


class MultipliedDropPath(nn.Module):
    """Ordinary stochastic depth, of as many samples as ``SubsetDropPath`` leaves out."""

    def forward(self, residual: Tensor) -> Tensor:
        """Some samples times batch / kept, the others times zero."""
        batch = len(residual)
        kept = torch.randperm(batch, device=residual.device)[: max(1, int(batch * (1 - DROP_RATE)))]
        factors = residual.new_zeros(batch).index_fill(0, kept, batch / len(kept))
        return residual * factors.view(-1, *[1] * (residual.ndim - 1))


def remembered_positions(options: argparse.Namespace) -> Switch:
    """DINOv3's rotary positions of the grids of both sizes, known or computed anew, as before each forward pass."""
    rope = RotaryEmbeddingDinoV3(HEAD_DIM).to(options.device)
    grids = [[size // PATCH] * 2 for size in (options.global_size, options.local_size)]

    def run(positions: Callable[..., Tensor]) -> Outcome:
        return Outcome([positions(grid) for grid in grids])

    remembered = RememberedPositions(rope)
    return Switch(
        partial(run, rope.get_embed), partial(run, remembered), 'rotary positions computed anew', 'remembered'
    )


def teacher_without_autograd(options: argparse.Namespace) -> Switch:
    """The teacher's forward pass as it is, or as that of a network that could be trained."""
    teacher = Teacher(_backbone(options), dict(cls=DINOHead(WIDTHS[options.model], options.prototypes)))
    teacher = teacher.to(options.device)
    views = ViewBatch(_views(options).global_views)

    def run(trainable: bool) -> Outcome:
        teacher.requires_grad_(trainable)
        with torch.set_grad_enabled(trainable):
            tokens, _ = teacher(views, global_patches=False)
        return Outcome([teacher.heads['cls'](tokens.class_token).detach()])

    return Switch(
        partial(run, True), partial(run, False), 'teacher, as if it were to be trained', 'teacher, under no_grad'
    )


def compiled_blocks(options: argparse.Namespace) -> Switch:
    """Blocks by ``torch.compile``, or as they are."""
    eager = _backbone(options)
    compiled = _backbone(options, eager, compile_blocks=True)
    return Switch(_student(options, eager), _student(options, compiled), 'student, eager', 'student, blocks compiled')


def compiled_colours(options: argparse.Namespace) -> Switch:
    """Colours of global views on the device, blends and hue by ``torch.compile`` or as they are."""
    crop = MultiCrop(options.global_size, num_local=0, split='device')
    image = np.zeros((options.global_size, options.global_size, 3), np.uint8)  # of which only the draws are used
    samples = [crop.sample(image) for _ in range(options.batch)]
    colours = torch.cat([sample.colours for sample in samples]).to(options.device)
    size = len(colours), 3, options.global_size, options.global_size
    levels = torch.randint(256, size, device=options.device).float()

    def run(compiled: bool) -> Outcome:
        return Outcome([change_colours(levels, colours, compiled)])

    return Switch(partial(run, False), partial(run, True), 'colours of global views, eager', 'blends and hue compiled')


# Compiled at first use, which takes minutes on a CPU.
SWITCHES: dict[str, Callable[[argparse.Namespace], Switch]] = dict(
    class_token_only=class_token_only,
    packed_views=packed_views,
    attention_fp32=partial(attention, torch.float32),
    attention_bf16=partial(attention, torch.bfloat16),
    loss_backward=loss_backward,
    subset_drop_path=subset_drop_path,
    remembered_positions=remembered_positions,
    teacher_without_autograd=teacher_without_autograd,
    compiled_blocks=compiled_blocks,
    compiled_colours=compiled_colours,
)


def _views(options: argparse.Namespace) -> ViewBatch:
    """Normalised ones, on the device."""
    numbers = (2, options.global_size), (options.num_local, options.local_size)
    shapes = [(views, options.batch, 3, size, size) for views, size in numbers]
    return ViewBatch(*(torch.randn(shape, device=options.device) if shape[0] else None for shape in shapes))


def _backbone(options: argparse.Namespace, twin: nn.Module | None = None, **arguments: Any) -> TimmBackbone:
    """In training; with the weights of another one, or with random ones in which each parameter matters."""
    backbone = TimmBackbone(f'vit_{options.model}_patch{PATCH}_224', **arguments).to(options.device).train()
    with torch.no_grad():
        if twin:
            backbone.load_state_dict(twin.state_dict())
        else:
            for parameter in backbone.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return backbone


def _student(options: argparse.Namespace, backbone: TimmBackbone) -> Callable[..., Outcome]:
    """Forward and backward from class tokens; both sides of a switch have the same views and directions."""
    torch.manual_seed(0)
    views, network = _views(options), Network(backbone, {})
    sizes = [(len(some), options.batch) for some in (views.global_views, views.local_views) if some is not None]
    directions = [torch.randn(*size, backbone.embed_dim, device=options.device) for size in sizes]
    parameters = list(backbone.parameters())

    def run(patches: bool = False) -> Outcome:
        found = [tokens.class_token for tokens in network(views, patches, patches) if tokens is not None]
        return _with_gradients(found, directions, parameters)

    return run


def _with_gradients(found: list[Tensor], directions: list[Tensor], parameters: list[Tensor]) -> Outcome:
    """Of what flows from random directions of the values into the parameters."""
    product = sum((values * direction).sum() for values, direction in zip(found, directions))
    return Outcome([values.detach() for values in found], torch.autograd.grad(product, parameters))
