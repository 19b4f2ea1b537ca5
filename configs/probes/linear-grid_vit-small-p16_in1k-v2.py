# A trained linear probe on ImageNet-V2: the same classes, photographs of later years.
#
# Command:  python tools/test.py configs/probes/linear-grid_vit-small-p16_in1k-v2.py WORK_DIR/epoch_10.pth
#           with data/imagenetv2/{0,1,…,999}/<images>.
#           WORK_DIR is of linear-grid_vit-small-p16_8xb128-10e_in1k.py; data/imagenet/train chooses the classifier.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us. To compare: 70.8 with DINOv2's ViT-S/14.
_base_ = './linear-grid_vit-small-p16_8xb128-10e_in1k.py'

__plain = _base_.test_dataloader.dataset.pipeline
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='dino_plugin.ImagesOfClasses',
        data_root='data/imagenetv2',
        classes='data/imagenet/train',
        pipeline=__plain,
    )
)
