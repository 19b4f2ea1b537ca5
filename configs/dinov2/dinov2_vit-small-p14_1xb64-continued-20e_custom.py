# Start from a released backbone and train it on images of your own. Its heads are not public, so new heads learn first.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us at this size.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# For the first tenth of training the backbone is frozen. Then it learns at a fiftieth of the heads' learning rate, and
# at less in early layers. GuardHook measures before training, after each epoch and at the end, and ends a training that
# does harm. Sub-folders of the images count as classes, for k-NN; without any, neighbours of two views are compared.
#
# To keep the patches like the released network's, anchor them: --cfg-options model.losses.gram.weight=1
# Few images make short epochs: with fewer than 5,000 take more of them, such as --epochs 100.
_base_ = '../_base_/stages/continued_20e.py'

model = dict(
    backbone=dict(
        model_name='vit_small_patch14_reg4_dinov2',  # positions keep the grid of the file, 37 x 37
        init_values=1e-5,  # LayerScale; for a file without it None, or 1.0 to learn one
        token_std=1e-6,
        position_resampling='timm',  # the rule of the authors' networks with registers
    )
)
train_dataloader = dict(collate_fn=dict(patch_size=14))
_base_.train_dataloader.dataset.dataset.pipeline[1].local_size = 98
