# Segmenter: a small transformer of class queries on the last layer of a transformer that is fine-tuned with it.
_base_ = './seg_encoder-decoder.py'

model = dict(
    backbone=dict(out_indices=(-1,), drop_path_rate=0.1),
    decode_head=dict(
        type='SegmenterMaskTransformerHead',
        in_channels='width',
        channels='width',
        num_classes=150,
        num_layers=2,
        num_heads='width // 64',
        embed_dims='width',
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
