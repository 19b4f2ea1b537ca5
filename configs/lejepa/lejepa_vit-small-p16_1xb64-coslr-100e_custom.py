# Your own folder of images with LeJEPA: any depth, no labels, one GPU. The file says what differs from DINO's.
#
# Command:  python tools/train.py configs/lejepa/lejepa_vit-small-p16_1xb64-coslr-100e_custom.py --images photos
#           (needs `pip install lightly`)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch loss_gaussian in the log: its weight, 0.05, times about 0.5 for features that
#           are normal; in a collapse it grows with the images of a step.
_base_ = ['../dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '../_base_/models/lejepa.py']

model = _base_.pop('lejepa')
model.heads.cls.hidden_dim = 2048
