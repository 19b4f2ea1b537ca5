# A smaller one, for few images: fewer queries, one layer of the encoder, three of the decoder, narrower ones.
_base_ = './det_box-bias-detr.py'

__layers = dict(ffn_cfg=dict(feedforward_channels=512))
model = dict(
    num_queries=100,
    encoder=dict(num_layers=1, layer_cfg=__layers),
    decoder=dict(num_layers=3, layer_cfg=__layers, box_bias=dict(hidden=64)),
)
