# Depth from frozen patch features of the last layer: batch norm, a 1x1 convolution to 256 bins, their mean.
_base_ = './seg_linear.py'

__decoder = _base_.model.decode_head
for __name in ('num_classes', 'loss_decode'):
    __decoder.pop(__name)
model = dict(
    model='DepthEstimator',
    data_preprocessor=dict(seg_pad_val=0, size=(416, 544)),
    decode_head=dict(
        _delete_=True,
        type='dino_plugin.DepthFromBins',
        head=__decoder,
        losses=dict(
            scale_invariant=dict(type='dino_plugin.ScaleInvariantLoss'),
            gradient=dict(type='dino_plugin.LogGradientLoss', weight=0.5),
        ),
    ),
    # The whole image and its mirror image: a window is never larger than the image.
    test_cfg=dict(mode='slide_flip', crop_size=(10_000, 10_000), stride=(10_000, 10_000)),
)
