# A large folder of images as DINOv3's pretraining sees it: 2 views of 256 px, half of which are masked, and 8 of
# 112 px; nothing is mirrored. Layout: data/images/<any folders>/<images>; no label is read.
_base_ = './imagenet_multi-crop_dinov2.py'

train_dataloader = dict(
    batch_size=16, collate_fn=dict(upper_edges=True), dataset=dict(dataset=dict(data_root='data/images'))
)
_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_size=256, local_size=112, flip_probability=0.0)
