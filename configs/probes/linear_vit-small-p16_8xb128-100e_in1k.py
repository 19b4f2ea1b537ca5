# DINO's linear probe on ImageNet-1k: one linear classifier of the class tokens of the last four blocks, 100 epochs.
#
# Command:  bash tools/dist_train.sh configs/probes/linear_vit-small-p16_8xb128-100e_in1k.py 8 \
#               --cfg-options model.backbone.checkpoint=CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_100.pth
#           with data/imagenet/{train,val}/<class>/<images>. CHECKPOINT: as in configs/knn/knn_folder.py. ViT-B:
#           model.last_blocks=[1] model.average_pool=[True]. The same with mmpretrain: configs/classification.
# Hardware: 8 GPUs. Not run by us.
# Expected: top-1 accuracy; not run by us. To compare: 77.0 with DINO's ViT-S/16 (README of facebookresearch/dino).
#           Its authors report the best epoch on the validation set; here it is the last one.
_base_ = './linear-grid_vit-small-p16_8xb128-10e_in1k.py'

model = dict(learning_rates=(1e-3,), last_blocks=(4,), average_pool=(False,))

# With one classifier nothing is chosen: it learns from all training images and is validated on the test images.
__train = _base_.train_dataloader.dataset.dataset.dataset
train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **__train)))
val_dataloader = dict(dataset=dict(_delete_=True, **_base_.test_dataloader.dataset))
test_cfg = dict(held_out_dataloader=None)
train_cfg = dict(max_epochs=100)
