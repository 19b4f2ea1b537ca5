# iBOT's ViT-S/16: 800 epochs, block masks on half of the global views, one head for class token and patches.
#
# Command:  on each of 2 machines: NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/ibot/ibot_vit-small-p16_16xb64-coslr-800e_in1k.py 8
# Hardware: 16 GPUs (two machines in the README of bytedance/ibot, which gives no hours). Not run by us.
# Expected: ImageNet k-NN 75.2 %, linear 77.9 %, fine-tuned 82.3 % (the same README).
#
# The README gives epochs, batch, views, masks, head and temperatures; the rest are the defaults of its code, which are
# DINO's. It trains in fp16; here it is bf16. Its centre of patches is the mean over all patches, here over the masked.
_base_ = [
    '../_base_/models/ibot_vit-small-p16.py',
    '../_base_/datasets/imagenet_multi-crop_ibot.py',
    '../_base_/schedules/adamw_coslr_100e.py',
    '../_base_/default_runtime.py',
]

__epochs = 800
__warm_temperature = dict(teacher_temperature=dict(share=30 / __epochs))

model = dict(losses=dict(dino=__warm_temperature, ibot=__warm_temperature))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(freeze_last_layer=1 / __epochs)
_base_.param_scheduler[0].schedule.share = 10 / __epochs  # warm-up
train_cfg = dict(max_epochs=__epochs)
