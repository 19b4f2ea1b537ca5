"""Key names of a backbone in timm and in other projects: one table for each layout, used in both directions.

The names come from the files that the authors, Hugging Face and mmpretrain publish. `key_names` applies the tables;
`key_values` handles tensors whose *values* differ too.
"""

from typing import NamedTuple

# (name in the layout, name in timm); {} is a number. A name also matches what follows it: `norm` matches `norm.bias`.
Names = tuple[tuple[str, str], ...]


class Layout(NamedTuple):
    """The names of one layout.

    Each file of this layout has one of the `markers`; files of other layouts have none. A file has the names of
    `gated_mlp` (SwiGLU) if its keys match the first of them, else those of `mlp`. `unused` are not the backbone's.
    `position_resampling` is the rule (see `positions`) of the program that writes such files, without registers.
    """

    markers: tuple[str, ...]
    names: Names
    mlp: Names = ()
    gated_mlp: Names = ()
    unused: tuple[str, ...] = ()
    position_resampling: str = 'huggingface'


def _same(*names: str) -> Names:
    return tuple((name, name) for name in names)


_EMBEDDINGS = _same('cls_token', 'patch_embed.proj')
_BLOCK = _same('blocks.{}.norm1', 'blocks.{}.attn.qkv', 'blocks.{}.attn.proj', 'blocks.{}.norm2', 'norm')
_LAYER_SCALE = _same('blocks.{}.ls1.gamma', 'blocks.{}.ls2.gamma')
_MLP = _same('blocks.{}.mlp.fc1', 'blocks.{}.mlp.fc2')


def _hugging_face_attention(attention: str, query: str, key: str, value: str, output: str) -> Names:
    return (
        (f'{attention}.{query}', 'blocks.{}.attn.q_proj'),
        (f'{attention}.{key}', 'blocks.{}.attn.k_proj'),
        (f'{attention}.{value}', 'blocks.{}.attn.v_proj'),
        (output, 'blocks.{}.attn.proj'),
    )


_HUGGING_FACE_BERT_LIKE = (
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.position_embeddings', 'pos_embed'),
    ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
    *_hugging_face_attention(
        'encoder.layer.{}.attention.attention', 'query', 'key', 'value', 'encoder.layer.{}.attention.output.dense'
    ),
    ('layernorm', 'norm'),
)

# facebookresearch/dino, bytedance/ibot and facebookresearch/dinov2 use timm's names; a file of timm is read as one of
# these.
ORIGINAL = Layout(
    markers=(),
    names=(*_EMBEDDINGS, ('pos_embed', 'pos_embed'), ('register_tokens', 'reg_token'), *_BLOCK, *_LAYER_SCALE),
    mlp=_MLP,
    gated_mlp=(('blocks.{}.mlp.w12', 'blocks.{}.mlp.fc1'), ('blocks.{}.mlp.w3', 'blocks.{}.mlp.fc2')),
    unused=('mask_token', 'masked_embed'),
    position_resampling='dino',
)
ORIGINAL_ROTARY = Layout(  # facebookresearch/dinov3
    markers=('storage_tokens', 'rope_embed.periods'),
    names=(
        *_EMBEDDINGS,
        ('storage_tokens', 'reg_token'),
        *_BLOCK,
        ('blocks.{}.ls1.gamma', 'blocks.{}.gamma_1'),
        ('blocks.{}.ls2.gamma', 'blocks.{}.gamma_2'),
    ),
    mlp=_MLP,
    gated_mlp=(
        ('blocks.{}.mlp.w1', 'blocks.{}.mlp.fc1_g'),
        ('blocks.{}.mlp.w2', 'blocks.{}.mlp.fc1_x'),
        ('blocks.{}.mlp.w3', 'blocks.{}.mlp.fc2'),
    ),
    unused=('mask_token', 'rope_embed.periods', 'local_cls_norm'),
)
ORIGINAL_CONVNEXT = Layout(  # facebookresearch/dinov3 and ConvNeXt
    markers=('downsample_layers.0.0',),
    names=(
        ('downsample_layers.0.{}', 'stem.{}'),
        ('downsample_layers.{}.{}', 'stages.{}.downsample.{}'),
        ('stages.{}.{}.dwconv', 'stages.{}.blocks.{}.conv_dw'),
        ('stages.{}.{}.norm', 'stages.{}.blocks.{}.norm'),
        ('stages.{}.{}.pwconv1', 'stages.{}.blocks.{}.mlp.fc1'),
        ('stages.{}.{}.pwconv2', 'stages.{}.blocks.{}.mlp.fc2'),
        ('stages.{}.{}.gamma', 'stages.{}.blocks.{}.gamma'),
        ('norm', 'head.norm'),
    ),
    unused=('norms',),  # the last norm again, for dense features
)
HUGGING_FACE_VIT = Layout(  # ViTModel
    markers=('encoder.layer.0.layernorm_before',),
    names=(
        *_HUGGING_FACE_BERT_LIKE,
        ('encoder.layer.{}.layernorm_before', 'blocks.{}.norm1'),
        ('encoder.layer.{}.layernorm_after', 'blocks.{}.norm2'),
    ),
    mlp=(
        ('encoder.layer.{}.intermediate.dense', 'blocks.{}.mlp.fc1'),
        ('encoder.layer.{}.output.dense', 'blocks.{}.mlp.fc2'),
    ),
    unused=('pooler.dense', 'embeddings.mask_token'),
)
HUGGING_FACE_DINOV2 = Layout(  # Dinov2Model, Dinov2WithRegistersModel
    markers=('encoder.layer.0.layer_scale1.lambda1',),
    names=(
        *_HUGGING_FACE_BERT_LIKE,
        ('embeddings.register_tokens', 'reg_token'),
        ('encoder.layer.{}.norm1', 'blocks.{}.norm1'),
        ('encoder.layer.{}.norm2', 'blocks.{}.norm2'),
        ('encoder.layer.{}.layer_scale1.lambda1', 'blocks.{}.ls1.gamma'),
        ('encoder.layer.{}.layer_scale2.lambda1', 'blocks.{}.ls2.gamma'),
    ),
    mlp=(('encoder.layer.{}.mlp.fc1', 'blocks.{}.mlp.fc1'), ('encoder.layer.{}.mlp.fc2', 'blocks.{}.mlp.fc2')),
    gated_mlp=(
        ('encoder.layer.{}.mlp.weights_in', 'blocks.{}.mlp.fc1'),
        ('encoder.layer.{}.mlp.weights_out', 'blocks.{}.mlp.fc2'),
    ),
    unused=('embeddings.mask_token',),
)
HUGGING_FACE_DINOV3 = Layout(  # DINOv3ViTModel
    markers=('embeddings.patch_embeddings.weight',),
    names=(
        ('embeddings.cls_token', 'cls_token'),
        ('embeddings.register_tokens', 'reg_token'),
        ('embeddings.patch_embeddings', 'patch_embed.proj'),
        ('layer.{}.norm1', 'blocks.{}.norm1'),
        *_hugging_face_attention('layer.{}.attention', 'q_proj', 'k_proj', 'v_proj', 'layer.{}.attention.o_proj'),
        ('layer.{}.layer_scale1.lambda1', 'blocks.{}.gamma_1'),
        ('layer.{}.layer_scale2.lambda1', 'blocks.{}.gamma_2'),
        ('layer.{}.norm2', 'blocks.{}.norm2'),
        ('norm', 'norm'),
    ),
    mlp=(('layer.{}.mlp.up_proj', 'blocks.{}.mlp.fc1'), ('layer.{}.mlp.down_proj', 'blocks.{}.mlp.fc2')),
    gated_mlp=(
        ('layer.{}.mlp.gate_proj', 'blocks.{}.mlp.fc1_g'),
        ('layer.{}.mlp.up_proj', 'blocks.{}.mlp.fc1_x'),
        ('layer.{}.mlp.down_proj', 'blocks.{}.mlp.fc2'),
    ),
    unused=('embeddings.mask_token',),
)
MMPRETRAIN = Layout(  # mmpretrain's and mmselfsup's VisionTransformer
    markers=('patch_embed.projection.weight',),
    names=(
        ('cls_token', 'cls_token'),
        ('pos_embed', 'pos_embed'),
        ('patch_embed.projection', 'patch_embed.proj'),
        ('layers.{}.ln1', 'blocks.{}.norm1'),
        ('layers.{}.attn.qkv', 'blocks.{}.attn.qkv'),
        ('layers.{}.attn.proj', 'blocks.{}.attn.proj'),
        ('layers.{}.attn.gamma1.weight', 'blocks.{}.ls1.gamma'),
        ('layers.{}.ln2', 'blocks.{}.norm2'),
        ('layers.{}.ffn.gamma2.weight', 'blocks.{}.ls2.gamma'),
        ('ln1', 'norm'),
    ),
    mlp=(('layers.{}.ffn.layers.0.0', 'blocks.{}.mlp.fc1'), ('layers.{}.ffn.layers.1', 'blocks.{}.mlp.fc2')),
    unused=('mask_token',),
)
HUGGING_FACE_CONVNEXT = Layout(  # DINOv3ConvNextModel
    markers=('stages.0.downsample_layers.0',),
    names=(
        ('stages.0.downsample_layers.{}', 'stem.{}'),
        ('stages.{}.downsample_layers.{}', 'stages.{}.downsample.{}'),
        ('stages.{}.layers.{}.depthwise_conv', 'stages.{}.blocks.{}.conv_dw'),
        ('stages.{}.layers.{}.layer_norm', 'stages.{}.blocks.{}.norm'),
        ('stages.{}.layers.{}.pointwise_conv1', 'stages.{}.blocks.{}.mlp.fc1'),
        ('stages.{}.layers.{}.pointwise_conv2', 'stages.{}.blocks.{}.mlp.fc2'),
        ('stages.{}.layers.{}.gamma', 'stages.{}.blocks.{}.gamma'),
        ('layer_norm', 'head.norm'),
    ),
)
TORCHVISION_VIT = Layout(  # torchvision's VisionTransformer, in Lightly's examples of MSN and SimMIM
    markers=('conv_proj.weight',),
    names=(
        ('class_token', 'cls_token'),
        ('encoder.pos_embedding', 'pos_embed'),
        ('conv_proj', 'patch_embed.proj'),
        ('encoder.layers.encoder_layer_{}.ln_1', 'blocks.{}.norm1'),
        ('encoder.layers.encoder_layer_{}.self_attention.in_proj_weight', 'blocks.{}.attn.qkv.weight'),
        ('encoder.layers.encoder_layer_{}.self_attention.in_proj_bias', 'blocks.{}.attn.qkv.bias'),
        ('encoder.layers.encoder_layer_{}.self_attention.out_proj', 'blocks.{}.attn.proj'),
        ('encoder.layers.encoder_layer_{}.ln_2', 'blocks.{}.norm2'),
        ('encoder.ln', 'norm'),
    ),
    mlp=(
        ('encoder.layers.encoder_layer_{}.mlp.0', 'blocks.{}.mlp.fc1'),
        ('encoder.layers.encoder_layer_{}.mlp.3', 'blocks.{}.mlp.fc2'),
    ),
    unused=('mask_token', 'heads.head'),
    position_resampling='timm',  # torchvision's model takes one size only
)
SEQUENTIAL_RESNET = Layout(  # torchvision's ResNet as nn.Sequential of its children, in Lightly's examples
    markers=('4.0.conv1.weight',),
    names=(('0', 'conv1'), ('1', 'bn1'), *((str(4 + index), f'layer{1 + index}') for index in range(4))),
)
WITH_MARKERS = (
    ORIGINAL_ROTARY,
    ORIGINAL_CONVNEXT,
    HUGGING_FACE_VIT,
    HUGGING_FACE_DINOV2,
    HUGGING_FACE_DINOV3,
    HUGGING_FACE_CONVNEXT,
    MMPRETRAIN,
    TORCHVISION_VIT,
    SEQUENTIAL_RESNET,
)
