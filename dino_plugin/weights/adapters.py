"""Low-rank adapters in a file, merged into the weights that they adapt."""

from collections.abc import Mapping

from torch import Tensor

SCALE = 'adapter_scale'  # a buffer beside each adapter; peft keeps this number outside the tensors
_BASE = '.base_layer.'
_PARTS = (f'{_BASE}weight', '.lora_A.default.weight', '.lora_B.default.weight', f'.{SCALE}')


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same network without adapters, under its plain names.

    W <- W + scale * B A        with scale = alpha / rank, computed in float64

    The names are those of peft: `….base_layer.weight` is W, of a linear layer or a convolution,
    `….lora_A.default.weight` is A (rank x inputs) and `….lora_B.default.weight` B (outputs x rank). `….adapter_scale`
    is ours. A state without adapters stays as it is.

    Args:
        state: Of one network.

    Raises:
        ValueError: If an adapted layer lacks one of these tensors.

    References:
        Hu et al. 2021, LoRA, arXiv:2106.09685, section 4.1.
    """
    layers = [key.removesuffix(_PARTS[0]) for key in state if key.endswith(_PARTS[0])]
    parts = {layer: [layer + part for part in _PARTS] for layer in layers}
    used = {key for keys in parts.values() for key in keys}
    result = {key.replace(_BASE, '.'): value for key, value in state.items() if key not in used}
    for layer, keys in parts.items():
        if missing := [key for key in keys if key not in state]:
            raise ValueError(
                f'The adapter of {layer} lacks {missing}. Merge adapters of another program there, before the file is '
                'written (peft: merge_and_unload).'
            )
        weight, down, up, scale = (state[key].double() for key in keys)
        change = scale * up.flatten(1) @ down.flatten(1)
        result[f'{layer}.weight'] = (weight + change.view_as(weight)).to(state[keys[0]].dtype)
    return result


def beside_adapters(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights under the names of a network that may have adapters, with its adapters as they are.

    Args:
        state: Without adapters.
        own: Of the network.
    """
    names = {key.replace(_BASE, '.'): key for key in own if _BASE in key}
    adapters = {key: value for key, value in own.items() if key.endswith(_PARTS[1:])}
    return {names.get(key, key): value for key, value in state.items()} | adapters
