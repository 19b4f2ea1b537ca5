# A trained linear probe on ImageNet-A: photographs that a ResNet-50 got wrong, of 200 classes.
#
# Command:  python tools/test.py configs/probes/linear-grid_vit-small-p16_in1k-a.py WORK_DIR/epoch_10.pth
#           with data/imagenet-a/<class>/<images>.
#           WORK_DIR is of linear-grid_vit-small-p16_8xb128-10e_in1k.py; data/imagenet/train chooses the classifier.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us.
_base_ = './linear-grid_vit-small-p16_in1k-v2.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenet-a'))
test_cfg = dict(only_present=True)  # 200 of the 1,000 classes
