# Start from a released backbone and train its normalisations alone, on images of your own.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-norms-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# 20,000 numbers of the backbone learn, at ten times the learning rate of the whole. Compared with low-rank adapters and
# the whole network in docs/adapt.md.
_base_ = './dinov2_vit-small-p14_1xb64-continued-20e_custom.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            '_delete_': True,
            'backbone': dict(lr_mult=0.0),  # frozen: no gradients, no memory of the optimiser
            'backbone*norm': dict(lr_mult=0.2),
            'mask_token': dict(lr_mult=0.2),
        }
    )
)
find_unused_parameters = True  # for several GPUs, which would wait for the frozen ones
