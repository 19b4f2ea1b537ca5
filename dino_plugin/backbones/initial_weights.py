"""Initial weights of transformers, as the authors of the methods draw them."""

from torch import nn

_STD = 0.02


def draw_initial_weights(model: nn.Module, token_std: float) -> None:
    """Draw the weights of timm's transformer as DINO's authors do.

    Linear layers, without their biases, and learnt positions have a standard deviation of 0.02, biases are zero. timm
    does the same, with three exceptions that this function undoes: class tokens of most networks start near zero, the
    last layers of a block are smaller in deeper blocks (networks with rotary positions), and gates of SwiGLU start near
    zero (ViT-g of DINOv2). Patch embedding, normalisations and LayerScale keep timm's values, which are the authors'.

    Args:
        model: Its weights are replaced.
        token_std: Standard deviation of class token and registers.

    Raises:
        ValueError: If the network has no class token.

    References:
        The code of DINO, iBOT and DINOv3 (``token_std`` 0.02), and of DINOv2 (1e-6).
    """
    if getattr(model, 'cls_token', None) is None:
        raise ValueError(
            f'TimmBackbone: token_std={token_std}, but {type(model).__name__} has no class token; leave token_std out.'
        )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if getattr(model, 'pos_embed', None) is not None:
        nn.init.trunc_normal_(model.pos_embed, std=_STD)
    for token in (model.cls_token, getattr(model, 'reg_token', None)):
        if token is not None:
            nn.init.normal_(token, std=token_std)
