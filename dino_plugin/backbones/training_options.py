"""What changes how a network trains, and not what it computes: adapters, stochastic depth, memory, compilation."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dino_plugin.backbones.low_rank import add_low_rank
from dino_plugin.backbones.stochastic_depth import use_subset_drop_path


def use_training_options(
    model: nn.Module,
    lora: Mapping[str, Any] | None,
    subset_drop_path: float,
    gradient_checkpointing: bool,
    compile_blocks: bool | str,
) -> None:
    """Change a network of timm in place, as the options of these names of `TimmBackbone` say.

    Raises:
        ValueError: As `add_low_rank` and `use_subset_drop_path`.
    """
    if lora is not None:
        add_low_rank(model, **lora)
    if subset_drop_path:
        use_subset_drop_path(model, subset_drop_path)
    if gradient_checkpointing:
        model.set_grad_checkpointing(True)
    if compile_blocks:
        for block in getattr(model, 'blocks', [model]):
            block.compile(mode=None if compile_blocks is True else compile_blocks)
