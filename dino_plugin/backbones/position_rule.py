"""A timm transformer resamples its learnt positions by the rule of its family."""

from collections.abc import Callable

from torch import Tensor, nn

from dino_plugin.weights.positions import resampled, rule_named


class ResampledPositions:
    """Stands in the place of a model's ``_pos_embed``: timm's own, with positions that fit the grid already.

    Args:
        model: A timm transformer with learnt positions, made for images of any size.
        rule: The name of a rule.

    Raises:
        ValueError: If there is no such rule.
    """

    def __init__(self, model: nn.Module, rule: str) -> None:
        self.model = model
        self.rule = rule_named(rule)
        self.timms: Callable = type(model)._pos_embed  # type: ignore[attr-defined]

    def __call__(self, patches: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """What the first block sees of ``batch rows columns dim``."""
        model, embed = self.model, self.model.patch_embed
        grid, learnt = embed.grid_size, model.pos_embed
        new = tuple(patches.shape[1:3])
        if all(type(side) is int for side in new) and new == tuple(grid):
            return self.timms(model, patches)
        num_prefix = learnt.shape[1] - grid[0] * grid[1]
        # In the table itself, since timm reads the attribute: the order of the parameters stays, and gradients reach
        # the learnt positions.
        model._parameters['pos_embed'], embed.grid_size = resampled(learnt, grid, new, num_prefix, self.rule), new
        try:
            return self.timms(model, patches)
        finally:
            model._parameters['pos_embed'], embed.grid_size = learnt, grid


def has_learnt_positions(model: nn.Module) -> bool:
    """Whether this file knows how the model uses its positions."""
    learnt = getattr(model, 'pos_embed', None)
    return (
        isinstance(learnt, Tensor)
        and learnt.ndim == 3
        and getattr(model, 'dynamic_img_size', False)
        and hasattr(type(model), '_pos_embed')
    )


def use_position_rule(model: nn.Module, rule: str) -> None:
    """Let the model resample its learnt positions by a rule; networks without any stay as they are.

    Raises:
        ValueError: If there is no such rule, or the model's positions are not known here and the rule is not timm's.
    """
    if has_learnt_positions(model):
        model._pos_embed = ResampledPositions(model, rule)
    elif rule_named(rule) != rule_named('timm') and getattr(model, 'pos_embed', None) is not None:
        raise ValueError(
            f'position_resampling={rule!r}: it is not known how {type(model).__name__} resamples its positions; '
            "leave it out, or use 'timm'."
        )
