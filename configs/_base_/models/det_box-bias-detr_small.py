# A smaller one, for few images: fewer queries, none extra, fewer layers, half as wide.
_base_ = './det_box-bias-detr.py'

__width = 128
__attention = dict(embed_dims=__width, num_heads=4)
__feed_forward = dict(embed_dims=__width, feedforward_channels=2 * __width)
model = dict(
    num_queries=100,
    extra_queries=0,
    neck=dict(out_channels=__width),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=__attention, ffn_cfg=__feed_forward)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(self_attn_cfg=__attention, cross_attn_cfg=__attention, ffn_cfg=__feed_forward),
        box_bias=dict(hidden=64),
    ),
    positional_encoding=dict(num_feats=__width // 2),
    bbox_head=dict(embed_dims=__width),
)
