# Distillation: a frozen ViT-g/14 of DINOv2's long recipe teaches a ViT-S/14 by the same losses.
#
# Command:  on each of 12 machines: NNODES=12 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov2/dinov2_vit-small-p14_96xb32-distill-625k_in22k.py 8 \
#               --cfg-options model.frozen_teacher.checkpoint=work_dirs/LARGE/iter_625000.pth
# Hardware: 96 GPUs of 80 GB. Not run by us.
# Expected: no figure at this data; the released ViT-S/14, distilled from a ViT-g/14 on LVD-142M: ImageNet k-NN 79.0 %,
#           linear 81.1 % (MODEL_CARD of facebookresearch/dinov2).
#
# As in the paper, the student sees no masks and has no stochastic depth; the patch loss compares all patches. The
# checkpoint's "teacher" is the moving average of the student. The frozen teacher needs the heads that it was trained
# with. Released files have none, so it is a checkpoint of your own run.
_base_ = './dinov2_vit-small-p14_96xb32-long-625k_in22k.py'

model = dict(
    backbone=dict(mask_token=False, subset_drop_path=0.0),
    losses=dict(ibot=dict(patches='all')),
    frozen_teacher=dict(
        checkpoint='work_dirs/dinov2_vit-giant-p14_256xb12-long-625k_in22k/iter_625000.pth',
        heads={{_base_.model.heads}},
    ),
)
train_dataloader = dict(collate_fn=dict(_delete_=True, type='dino_plugin.multi_crop_collate'))
