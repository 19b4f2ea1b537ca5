# A trained linear probe on ImageNet-R: paintings, toys, cartoons and the like of 200 classes.
#
# Command:  python tools/test.py configs/probes/linear-grid_vit-small-p16_in1k-r.py WORK_DIR/epoch_10.pth
#           with data/imagenet-r/<class>/<images>.
#           WORK_DIR is of linear-grid_vit-small-p16_8xb128-10e_in1k.py; data/imagenet/train chooses the classifier.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us.
_base_ = './linear-grid_vit-small-p16_in1k-a.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenet-r'))
