"""`config.json` and `preprocessor_config.json` for Hugging Face's classes of the DINO family."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dino_plugin.export.architecture import Architecture


def huggingface_config(model: nn.Module, architecture: Architecture) -> dict[str, Any]:
    """The content of `config.json`, from which `transformers` builds the same network.

    Raises:
        ValueError: If the class cannot express the width of the MLPs.
    """
    block = model.blocks[0]
    image_size = list(model.patch_embed.img_size)
    patch_size = list(model.patch_embed.patch_size)
    config = dict(
        dtype='float32',
        hidden_size=model.embed_dim,
        num_hidden_layers=len(model.blocks),
        num_attention_heads=block.attn.num_heads,
        hidden_act='gelu',
        image_size=_one_if_square(image_size),
        patch_size=_one_if_square(patch_size),
        num_channels=model.patch_embed.proj.in_channels,
        layer_norm_eps=model.norm.eps,
    )
    if architecture.rotary:
        return config | _rotary(model, architecture)
    config['qkv_bias'] = block.attn.qkv.bias is not None
    if not (architecture.layer_scale or architecture.registers or architecture.swiglu):
        kind = dict(model_type='vit', architectures=['ViTModel'], pooler_act='linear')
        return config | kind | dict(intermediate_size=block.mlp.fc1.out_features)
    config['mlp_ratio'] = _mlp_ratio(model.embed_dim, block.mlp.fc2.in_features, architecture.swiglu)
    config['use_swiglu_ffn'] = architecture.swiglu
    if architecture.registers:
        registers = dict(num_register_tokens=model.reg_token.shape[1])
        return config | registers | dict(model_type='dinov2_with_registers', architectures=['Dinov2WithRegistersModel'])
    return config | dict(model_type='dinov2', architectures=['Dinov2Model'])


def image_processor_config(image_size: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The content of `preprocessor_config.json`: images are prepared as by our evaluators.

    The shorter side is resized (bicubic) to 8/7 of the network's image size, 256 for 224; then comes a centre crop. The
    class is DINOv2's for all networks: ViT's does not crop, and DINOv3's exists in one implementation only and resizes
    unrounded levels.

    Args:
        image_size: Rows and columns in pixels. If they differ, the larger one decides, so that the crop fits.
        mean: Per channel, of pixels in [0, 1].
        std: The same for the standard deviation.
    """
    rows, columns = image_size
    return dict(
        image_processor_type='BitImageProcessor',
        do_convert_rgb=True,
        do_resize=True,
        size=dict(shortest_edge=round(max(image_size) * 8 / 7)),
        resample=3,  # Pillow's number for bicubic
        do_center_crop=True,
        crop_size=dict(height=rows, width=columns),
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(mean),
        image_std=list(std),
    )


def _rotary(model: nn.Module, architecture: Architecture) -> dict[str, Any]:
    attention = model.blocks[0].attn
    biased = attention.q_bias is not None
    return dict(
        model_type='dinov3_vit',
        architectures=['DINOv3ViTModel'],
        intermediate_size=model.blocks[0].mlp.fc2.in_features,
        use_gated_mlp=architecture.swiglu,
        hidden_act='silu' if architecture.swiglu else 'gelu',
        query_bias=biased,
        key_bias=False,
        value_bias=biased,
        rope_theta=model.rope.temperature,
        num_register_tokens=model.reg_token.shape[1],
        pos_embed_rescale=None,
    )


def _one_if_square(size: list[int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else size


def _mlp_ratio(width: int, hidden: int, gated: bool) -> int:
    """The integer from which transformers computes `hidden`."""
    for ratio in range(1, 17):
        if hidden == ((width * ratio * 2 // 3 + 7) // 8 * 8 if gated else width * ratio):
            return ratio
    raise ValueError(f'MLPs of {hidden} hidden units for tokens of width {width}, which no integer mlp_ratio gives')
