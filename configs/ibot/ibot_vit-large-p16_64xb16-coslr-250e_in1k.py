# iBOT's ViT-L/16: 250 epochs.
#
# Command:  on each of 8 machines: NNODES=8 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/ibot/ibot_vit-large-p16_64xb16-coslr-250e_in1k.py 8
# Hardware: 64 GPUs; the authors give no hours. Not run by us.
# Expected: ImageNet k-NN 78.0 %, linear 81.0 %, fine-tuned 84.8 % (README of bytedance/ibot).
#
# Values marked (*) are the paper's, from memory. Compare them with the `args` that the README links to before you spend
# the time.
_base_ = './ibot_vit-small-p16_16xb64-coslr-800e_in1k.py'

__epochs = 250  # (*)
__warm_temperature = dict(teacher_temperature=dict(share=50 / __epochs))  # (*)

model = dict(
    backbone=dict(model_name='vit_large_patch16_224'),
    heads=dict(cls=dict(norm_last_layer=True)),  # (*)
    losses=dict(dino=__warm_temperature, ibot=__warm_temperature),
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(max_norm=0.3, freeze_last_layer=3 / __epochs, optimizer=dict(lr=7.5e-4))  # (*)
_base_.param_scheduler[0].schedule.share = 10 / __epochs  # warm-up
_base_.param_scheduler[0].schedule.then.end = 1e-6 / 3e-3
train_cfg = dict(max_epochs=__epochs)
