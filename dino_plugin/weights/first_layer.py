"""The first layer of a network that was trained on RGB, for images of other channels."""

from collections.abc import Mapping

from torch import Tensor

_RGB = 3


def fit_first_layer(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Spreads the weights of red, green and blue over the channels of a model, by timm's rule.

    1 channel:   w <- w[red] + w[green] + w[blue]
    C channels:  w[c] <- (3 / C) w[c mod 3]

    So an image whose channels are all equal gives what the grey image gave if C is 1 or a multiple of 3, and about that
    otherwise. Only a first layer of three channels in the file is changed, and only if nothing else of its shape
    differs.

    Args:
        own: Of the model.
        state: Under the same names.

    Returns:
        The state, and the key of the layer that was changed, if one was.
    """
    from timm.models._manipulate import adapt_input_conv

    key = next((key for key, value in own.items() if value.ndim == 4), None)
    if key is None or key not in state or state[key].ndim != 4 or state[key].shape[1] != _RGB:
        return dict(state), []
    (outputs, channels, *window), old = own[key].shape, state[key]
    if channels == _RGB or (outputs, *window) != (old.shape[0], *old.shape[2:]):
        return dict(state), []
    return {**state, key: adapt_input_conv(channels, old).to(old.dtype)}, [key]
