# The recipe of DINO's released ViT-S/16: 800 epochs, ten small local views.
#
# Command:  on each of 2 machines: NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dino/dino_vit-small-p16_16xb64-coslr-800e_in1k.py 8
# Hardware: 16 GPUs. The authors give no hours for 800 epochs; at their rate for 300 (2.6 days, README of
#           facebookresearch/dino, with two local views fewer) it is about a week. Not run by us.
# Expected: ImageNet k-NN 74.5 %, linear 77.0 % (the same README).
#
# Values marked (*) are the released checkpoint's as remembered: its args.txt, linked in that README, could not be read
# while this was written. Compare before you spend the week. It was trained in fp32; bf16 here.
_base_ = './dino_vit-small-p16_16xb64-coslr-300e_in1k.py'

epochs = 800

model = dict(
    losses=dict(dino=dict(teacher_temperature=dict(share=30 / epochs, then=0.07))),  # (*)
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=224,
                    global_scale=(0.25, 1.0),  # (*)
                    local_size=96,
                    local_scale=(0.05, 0.25),  # (*)
                    num_local=10,  # (*)
                    photometric='paper',
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ]
        )
    )
)
optim_wrapper = dict(max_norm=None, freeze_last_layer=1 / epochs)  # no clipping (*)
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(
            type='dino_plugin.Warmup',
            start=0.0,
            share=10 / epochs,
            then=dict(type='dino_plugin.Cosine', start=1.0, end=1e-5 / 2e-3),  # (*)
        ),
    ),
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='weight_decay',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Cosine', start=1.0, end=10.0),
    ),
]
train_cfg = dict(max_epochs=epochs)
