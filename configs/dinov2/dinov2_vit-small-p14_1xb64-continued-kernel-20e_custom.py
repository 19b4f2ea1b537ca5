# Go on from a released backbone for dense tasks: PaKA's alignment of patch kernels beside DINOv2's losses.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-kernel-20e_custom.py \
#               --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images; GuardHook says whether it helped.
_base_ = './dinov2_vit-small-p14_1xb64-continued-20e_custom.py'

model = dict(losses=dict(kernel=dict(type='dino_plugin.KernelAlignmentLoss', weight=1.0)))
