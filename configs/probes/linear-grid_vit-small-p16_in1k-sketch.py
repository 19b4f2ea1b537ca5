# A trained linear probe on ImageNet-Sketch: drawings of the 1,000 classes.
#
# Command:  python tools/test.py configs/probes/linear-grid_vit-small-p16_in1k-sketch.py WORK_DIR/epoch_10.pth
#           with data/imagenet-sketch/<class>/<images>.
#           WORK_DIR is of linear-grid_vit-small-p16_8xb128-10e_in1k.py; data/imagenet/train chooses the classifier.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us.
_base_ = './linear-grid_vit-small-p16_in1k-v2.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenet-sketch'))
