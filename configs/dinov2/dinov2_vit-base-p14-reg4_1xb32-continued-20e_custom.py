# Start from the released DINOv2 ViT-B/14 with registers, and train it on images of your own.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-base-p14-reg4_1xb32-continued-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
_base_ = './dinov2_vit-small-p14_1xb64-continued-20e_custom.py'

model = dict(backbone=dict(model_name='vit_base_patch14_reg4_dinov2'), momentum=dict(start=0.999))
train_dataloader = dict(batch_size=32)
