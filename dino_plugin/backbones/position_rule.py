"""Resampling of a timm transformer's learnt positions by the rule of its family."""

from collections.abc import Callable

from torch import Tensor, nn

from dino_plugin.weights.positions import resampled, rule_named


class ResampledPositions:
    """Replaces a model's ``_pos_embed``: timm's own, called with positions that are resampled already.

    Args:
        model: A timm transformer with learnt positions, built for images of any size.
        rule: Name of a rule.

    Raises:
        ValueError: If the rule is unknown.
    """

    def __init__(self, model: nn.Module, rule: str) -> None:
        self.model = model
        self.rule = rule_named(rule)
        self.timms: Callable = type(model)._pos_embed  # type: ignore[attr-defined]

    def __call__(self, patches: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """From patches ``batch rows columns dim`` to the input of the first block."""
        model, embed = self.model, self.model.patch_embed
        grid, learnt = embed.grid_size, model.pos_embed
        new = tuple(patches.shape[1:3])
        if all(type(side) is int for side in new) and new == tuple(grid):
            return self.timms(model, patches)
        num_prefix = learnt.shape[1] - grid[0] * grid[1]
        # timm reads the attribute `pos_embed`. Setting it in `_parameters` keeps the order of the parameters, and lets
        # gradients reach the learnt positions.
        model._parameters['pos_embed'], embed.grid_size = resampled(learnt, grid, new, num_prefix, self.rule), new
        try:
            return self.timms(model, patches)
        finally:
            model._parameters['pos_embed'], embed.grid_size = learnt, grid


def has_learnt_positions(model: nn.Module) -> bool:
    """Whether :class:`ResampledPositions` can replace the model's own resampling."""
    learnt = getattr(model, 'pos_embed', None)
    return (
        isinstance(learnt, Tensor)
        and learnt.ndim == 3
        and getattr(model, 'dynamic_img_size', False)
        and hasattr(type(model), '_pos_embed')
    )


def use_position_rule(model: nn.Module, rule: str) -> None:
    """Let the model resample its learnt positions by a rule; networks without them stay unchanged.

    Raises:
        ValueError: If the rule is unknown, or the model cannot use another rule than timm's.
    """
    if has_learnt_positions(model):
        model._pos_embed = ResampledPositions(model, rule)
    elif rule_named(rule) != rule_named('timm') and getattr(model, 'pos_embed', None) is not None:
        raise ValueError(
            f'position_resampling={rule!r} does not exist for the positions of {type(model).__name__}; '
            "leave it out, or use 'timm'."
        )
