# Segmentation without training: a patch gets the label of its nearest neighbours among the patches of training images,
# or that of a logistic regression on them (CAPI's protocol). The cheapest measure of dense features.
#
# Command:  python tools/test.py configs/probes/patches_folder.py CHECKPOINT --images DIR
#           with DIR/train/images, DIR/train/masks, DIR/val/images and DIR/val/masks. Other layouts: data_root=DIR,
#           images=img_dir/train and masks=ann_dir/train of both data sets. A mask is an indexed or grey PNG of the
#           image's name and size with a label in each pixel; 255 is ignored. If 0 is no class, as in ADE20K:
#           model.ignored=[0,255]. CHECKPOINT: see configs/knn/knn_folder.py.
#           Several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS
# Hardware: any. test_cfg.patches_per_image bounds the memory: a million patches of ViT-S take 1.5 GB.
# Expected: depends on the images. k, temperature and C are chosen on a tenth of the training images; mIoU is that of
#           the test images in pixels. To compare, not run by us: CAPI ViT-L/14 on ADE20K by k-NN 29 to 35.
_base_ = '../_base_/default_runtime.py'

model = dict(
    type='dino_plugin.PatchExtractor',
    short_side=448,
    ignored=(255,),
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)


def __labelled(data_root):
    return dict(
        batch_size=1,
        num_workers=0,  # an image is a path, read by the model
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        dataset=dict(type='dino_plugin.ObjectDataset', data_root=data_root, images='images', masks='masks'),
    )


test_dataloader = __labelled('data/val')
test_cfg = dict(
    type='dino_plugin.PatchTestLoop', bank_dataloader=__labelled('data/train'), patches_per_image=256, seed=0
)
test_evaluator = [dict(type='dino_plugin.PatchKNNMetric'), dict(type='dino_plugin.PatchLogisticMetric')]
