# Start from a released backbone and train it on images of 448 px, for dense tasks and small things.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb16-continued-448px-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# Positions are resampled from the grid of the file to 32 x 32. The anchor keeps the patches like the released ones.
_base_ = './dinov2_vit-small-p14_1xb64-continued-20e_custom.py'

model = dict(backbone=dict(img_size=448, gradient_checkpointing=True), losses=dict(gram=dict(weight=1.0)))
train_dataloader = dict(batch_size=16, collate_fn=dict(min_patches=64))
_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_size=448, local_size=196)
_base_.custom_hooks[-1].image_size = 448
