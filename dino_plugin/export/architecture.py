"""Which architecture a timm model is, among those that other programs can build."""

from collections.abc import Iterator
from typing import NamedTuple

from timm.layers import Attention, GluMlp, LayerNorm, Mlp, PatchEmbed, SwiGLU
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn


class Architecture(NamedTuple):
    """A vision transformer of DINO (nothing set), DINOv2 (any of the first three) or DINOv3 (rotary)."""

    layer_scale: bool
    registers: bool
    swiglu: bool
    rotary: bool

    def __str__(self) -> str:
        parts = [name for name, given in self._asdict().items() if given]
        return f'a vision transformer ({", ".join(parts).replace("_", " ") or "plain"})'


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture of a vision transformer.

    Parts are compared by their exact class: another class could compute something else from weights of the same names.

    Raises:
        ValueError: If the model is another architecture; the message lists the differences.
    """
    if differences := [*_differences(model)]:
        raise ValueError(f'{type(model).__name__} with {"; ".join(differences)}')
    keys = model.state_dict()
    return Architecture(
        layer_scale='blocks.0.gamma_1' in keys or 'blocks.0.ls1.gamma' in keys,
        registers='reg_token' in keys,
        swiglu=type(model.blocks[0].mlp) in (GluMlp, SwiGLU),
        rotary=type(model) is Eva,
    )


def _differences(model: nn.Module) -> Iterator[str]:
    if type(model) not in (VisionTransformer, Eva):
        yield 'an architecture that is neither a plain vision transformer nor DINOv3'
        return
    block = model.blocks[0]
    rotary = type(model) is Eva
    parts = {
        'patch embedding': (model.patch_embed, PatchEmbed),
        'block': (block, EvaBlock if rotary else Block),
        'attention': (block.attn, EvaAttention if rotary else Attention),
        'last normalisation': (model.norm, LayerNorm),
    }
    if rotary:
        parts['position embedding'] = (model.rope, RotaryEmbeddingDinoV3)
    for name, (part, expected) in parts.items():
        if type(part) is not expected:
            yield f'{type(part).__name__} as {name} instead of {expected.__name__}'
    if type(part := model.norm) is LayerNorm and part.eps != (1e-5 if rotary else 1e-6):
        yield f'epsilon {part.eps} in its normalisations'
    if model.cls_token is None:
        yield 'no class token'
    if (model.pos_embed is None) != rotary:
        yield 'no position embedding' if not rotary else 'learned and rotary positions at once'
    if rotary and (model.reg_token is None or block.gamma_1 is None):
        yield 'rotary positions without registers or LayerScale'
    rope = getattr(model, 'rope', None)
    if type(rope) is RotaryEmbeddingDinoV3 and not (rope.rotate_half and rope.normalize_coords == 'separate'):
        yield 'another rotation than DINOv3'
    yield from _differences_of_mlp(block.mlp)


def _differences_of_mlp(mlp: nn.Module) -> Iterator[str]:
    activation = type(getattr(mlp, 'act', None))
    plain = type(mlp) is Mlp and activation is nn.GELU
    gated = type(mlp) is SwiGLU or (type(mlp) is GluMlp and not mlp.gate_last)
    if not plain and not (gated and activation is nn.SiLU):
        yield f'{type(mlp).__name__} ({activation.__name__}) as MLP instead of Mlp (GELU) or SwiGLU'
