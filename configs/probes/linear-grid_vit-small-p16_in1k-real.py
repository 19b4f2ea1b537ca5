# A trained linear probe on ImageNet-ReaL: all labels that are right for each validation image.
#
# Command:  python tools/test.py configs/probes/linear-grid_vit-small-p16_in1k-real.py WORK_DIR/epoch_10.pth
#           with data/imagenet/val and data/real.json (of google-research/reassessed-imagenet).
#           WORK_DIR is of linear-grid_vit-small-p16_8xb128-10e_in1k.py; data/imagenet/train chooses the classifier.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us. Images without a valid label do not count.
_base_ = './linear-grid_vit-small-p16_8xb128-10e_in1k.py'

__plain = _base_.test_dataloader.dataset.pipeline
test_dataloader = dict(
    dataset=dict(_delete_=True, type='dino_plugin.NumberedImages', data_root='data/imagenet/val', pipeline=__plain)
)
test_evaluator = dict(valid_labels='data/real.json')
