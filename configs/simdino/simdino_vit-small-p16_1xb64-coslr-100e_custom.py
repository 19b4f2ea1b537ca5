# Your own folder of images with SimDINO: any depth, no labels, one GPU. The file says what differs from DINO's.
#
# Command:  python tools/train.py configs/simdino/simdino_vit-small-p16_1xb64-coslr-100e_custom.py --images photos
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch loss_spread in the log: it rises to 0 in a collapse.
_base_ = ['../dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '../_base_/models/simdino.py']

model = _base_.pop('simdino')
