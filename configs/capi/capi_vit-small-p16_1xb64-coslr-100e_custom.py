# Your own folder of images with CAPI's clusters: features of patches, no labels, one GPU.
#
# Command:  python tools/train.py configs/capi/capi_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch prediction_target_information in the log (0 is a collapse).
#
# The class token learns only what helps to predict patches; classify by the mean patch.
_base_ = ['../dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', '../_base_/models/cluster_prediction.py']

model = dict(backbone=dict(drop_masked=True), **_base_.pop('cluster_prediction'))
train_dataloader = dict(collate_fn=_base_.pop('mostly_hidden'))
_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_scale=(0.6, 1.0), num_local=0)
