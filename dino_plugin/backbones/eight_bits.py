"""Products of matrices in float8, by torchao."""

from torch import nn

RECIPES = ('tensorwise', 'rowwise', 'rowwise_with_gw_hp')  # torchao's
MULTIPLE = 16  # of what the hardware's products take


def use_float8(model: nn.Module, recipe: bool | str) -> None:
    """The linear layers of the blocks compute in float8, forward and backward; weights stay as they are.

    y = s_x s_W q(x / s_x) q(W / s_W)^T     q rounds to float8; s is the largest absolute value over float8's range

    Layers whose widths are no multiples of 16 stay. GPUs compute so since NVIDIA's H100 and Ada; elsewhere it is slow.

    Args:
        model: From timm; changed in place. Names of parameters stay.
        recipe: Of torchao: 'tensorwise' (one scale for each matrix), 'rowwise', 'rowwise_with_gw_hp' (gradients of
            weights not in float8). True: 'rowwise'.

    Raises:
        ImportError: If torchao is not installed.
        ValueError: If it does not know the recipe, or the network has no ``blocks``.

    References:
        Micikevicius et al. 2022, FP8 formats for deep learning, arXiv:2209.05433.
    """
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError as error:
        raise ImportError("float8 needs torchao: pip install 'dino_plugin[float8]'.") from error
    if not hasattr(model, 'blocks'):
        raise ValueError(f'TimmBackbone: float8 is for the blocks of transformers; {type(model).__name__} has none.')
    name = 'rowwise' if recipe is True else recipe
    if name not in RECIPES:
        raise ValueError(f'TimmBackbone: float8={recipe!r} is no recipe; use True or one of {list(RECIPES)}.')

    def fits(module: nn.Module, _: str) -> bool:
        return not any(width % MULTIPLE for width in module.weight.shape)

    convert_to_float8_training(model.blocks, config=Float8LinearConfig.from_recipe_name(name), module_filter_fn=fits)
