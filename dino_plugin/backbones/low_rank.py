"""Low-rank adapters: a released network learns few numbers, and is exported as a plain network."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from dino_plugin.weights.adapters import SCALE

LINEAR_LAYERS = ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')


def add_low_rank(
    model: nn.Module, target_modules: Sequence[str] = LINEAR_LAYERS, trained: Sequence[str] = (), **options
) -> None:
    """Freeze a network, and give some of its layers adapters that learn.

    y = W x + (alpha / r) B A x     A: r x inputs, random; B: outputs x r, zero at the start

    So the network begins as it is. Only A and B have gradients and take memory of the optimiser. Whoever reads a
    checkpoint gets plain weights, see `dino_plugin.weights.adapters.merged`.

    The teacher of self-distillation averages A and B, not their product. It averages what the student trained, and
    needs no more memory; but the mean of products is another matrix: with A and B each the mean of two values, the
    product differs by (A1 - A2) (B1 - B2) / 4, which is small while the student moves slowly.

    Args:
        model: From timm, with its weights; changed in place.
        target_modules: Ends of the names of linear layers and convolutions; layers that the network lacks are passed
            over, unless it lacks all.
        trained: Other parameters that learn, by texts in their names, where ``*`` stands for anything: ``['norm']``,
            or ``['patch_embed']`` for images of other channels.
        **options: For ``peft.LoraConfig``: ``r`` (8), ``lora_alpha`` (8), ``lora_dropout`` (0), ``use_rslora``,
            ``rank_pattern``, ``alpha_pattern``, ``layers_to_transform``.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If an option is unknown or makes adapters of another kind, the network has none of the layers, or no
            parameter has a text of ``trained`` in its name.

    References:
        Hu et al. 2021, LoRA, arXiv:2106.09685.
    """
    _check(options)
    peft = _imported()
    config = peft.LoraConfig(target_modules=list(target_modules), **options)
    names = [name for name, _ in model.named_parameters()]
    if unknown := [text for text in trained if not any(_has(name, text) for name in names)]:
        raise ValueError(f'lora: trained={unknown} is in the name of no parameter of {type(model).__name__}.')
    peft.inject_adapter_in_model(config, model)  # freezes everything else
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.register_buffer(SCALE, torch.tensor(float(module.scaling['default'])))
        if hasattr(module, 'qkv_bias_separate'):
            module.qkv_bias_separate = True  # otherwise EVA's attention takes the weight itself, without its adapter
    for name, parameter in model.named_parameters():
        if any(_has(name, text) for text in trained):
            parameter.requires_grad_(True)


def _has(name: str, text: str) -> bool:
    return fnmatchcase(name, f'*{text}*')


_OPTIONS = {'r', 'lora_alpha', 'lora_dropout', 'use_rslora', 'rank_pattern', 'alpha_pattern', 'layers_to_transform'}


def _check(options: dict) -> None:
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ValueError(
            f'lora: unknown options {unknown}; it takes target_modules, trained and {", ".join(sorted(_OPTIONS))}.'
        )
    if not options.get('r', 8) > 0:
        raise ValueError(f'lora: r={options["r"]} is the rank of the adapters, at least 1.')


def _imported():
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            'lora=dict(...) needs peft, which is not installed: pip install "dino_plugin[lora]".'
        ) from error
    return peft
