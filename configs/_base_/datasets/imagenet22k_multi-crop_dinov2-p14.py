# ImageNet-22k as DINOv2's long recipe sees it: patches of 14 px, so local views of 98.
# Layout: data/imagenet22k/<any folders>/<images>; no label is read.
_base_ = './imagenet_multi-crop_dinov2.py'

train_dataloader = dict(
    batch_size=32, collate_fn=dict(patch_size=14), dataset=dict(dataset=dict(data_root='data/imagenet22k'))
)
_base_.train_dataloader.dataset.dataset.pipeline[1].local_size = 98
