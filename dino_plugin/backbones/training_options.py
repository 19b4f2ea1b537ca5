"""What changes how a network trains, and not what it computes: adapters, stochastic depth, memory, compilation."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dino_plugin.backbones.eight_bits import use_float8
from dino_plugin.backbones.low_rank import add_low_rank
from dino_plugin.backbones.pre_norm_blocks import has_plain_blocks
from dino_plugin.backbones.recomputation import PRODUCTS, checked_recomputation
from dino_plugin.backbones.stochastic_depth import use_subset_drop_path


def use_training_options(
    model: nn.Module,
    lora: Mapping[str, Any] | None,
    subset_drop_path: float,
    gradient_checkpointing: bool | str,
    compile_blocks: bool | str,
    float8: bool | str,
) -> None:
    """Change a network of timm in place, as the options of these names of `TimmBackbone` say.

    Raises:
        ImportError: As `use_float8`.
        ValueError: As `add_low_rank`, `use_subset_drop_path`, `checked_recomputation` and `use_float8`.
    """
    if lora is not None:
        add_low_rank(model, **lora)
    if subset_drop_path:
        use_subset_drop_path(model, subset_drop_path)
    if float8:
        use_float8(model, float8)
    if checked_recomputation(gradient_checkpointing, has_plain_blocks(model), compile_blocks):
        model.set_grad_checkpointing(True)
        if gradient_checkpointing == PRODUCTS:
            model.grad_checkpointing = PRODUCTS  # timm asks whether it is true, our blocks what it is
    if compile_blocks:
        for block in getattr(model, 'blocks', [model]):
            block.compile(mode=None if compile_blocks is True else compile_blocks)
