# The recipe of DINO's released ViT-B/16.
#
# Command:  on each of 4 machines: NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dino/dino_vit-base-p16_32xb32-coslr-400e_in1k.py 8
# Hardware: 32 GPUs of 32 GB (*); the authors give no hours. Not run by us.
# Expected: ImageNet k-NN 76.1 %, linear 78.2 % (README of facebookresearch/dino).
#
# Values marked (*) are those of the released checkpoint, from memory: we could not read its args.txt, which that README
# links to. Compare them before you spend the days.
_base_ = [
    '../_base_/models/dino_vit-small-p16.py',
    '../_base_/datasets/imagenet_multi-crop_10-local.py',  # (*)
    '../_base_/schedules/adamw_coslr_100e.py',
    '../_base_/default_runtime.py',
]

__epochs = 400

model = dict(
    backbone=dict(model_name='vit_base_patch16_224'),
    losses=dict(dino=dict(teacher_temperature=dict(share=50 / __epochs, then=0.07))),  # (*)
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(max_norm=0.3, freeze_last_layer=3 / __epochs, optimizer=dict(lr=7.5e-4))  # (*)
_base_.param_scheduler[0].schedule.share = 10 / __epochs  # warm-up
_base_.param_scheduler[0].schedule.then.end = 2e-6 / 3e-3  # (*)
train_cfg = dict(max_epochs=__epochs)
