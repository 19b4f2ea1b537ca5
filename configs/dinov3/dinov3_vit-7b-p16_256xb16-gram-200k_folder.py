# DINOv3's second stage, Gram anchoring: ViT-7B/16, 200,000 iterations from the first stage's teacher.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb16-gram-200k_folder.py 8 \
#               --cfg-options model.checkpoint=work_dirs/PREVIOUS/iter_N.pth
# Hardware: as the first stage. Not run by us.
# Expected: patch features that keep their geometry, which longer training without this stage loses; no figure of ours.
#
# The anchor begins as the first stage's teacher and becomes the current one three times, every 10,000 iterations; it
# sees the views at twice their size and without colour changes. The authors go on with the optimiser's state and with
# the student's own weights; here both networks start from the teacher.
_base_ = './dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder.py'

iterations = 200_000

model = dict(
    checkpoint='work_dirs/dinov3_vit-7b-p16_256xb16-pretrain-1000k_folder/iter_1000000.pth',
    losses=dict(
        dino=dict(
            teacher_temperature=0.07,
            local_weight=dict(type='dino_plugin.Warmup', start=1.0, share=1000 / iterations, then=0.5),
        ),
        ibot=dict(teacher_temperature=0.07),
        gram=dict(
            type='dino_plugin.GramLoss',
            weight=dict(type='dino_plugin.Warmup', start=0.0, share=1000 / iterations, then=2.0),
            refresh=tuple(start / iterations for start in (10_000, 20_000, 30_000)),
        ),
    ),
    momentum=0.999,
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type='dino_plugin.LoadImage'),
                dict(
                    type='dino_plugin.MultiCrop',
                    global_size=256,
                    global_scale=(0.32, 1.0),
                    local_size=112,
                    local_scale=(0.05, 0.32),
                    num_local=8,
                    anchor_size=512,
                    photometric='paper',
                    flip_probability=0.0,
                    split='auto',
                ),
                dict(type='dino_plugin.PackViews'),
            ]
        )
    )
)
optim_wrapper = dict(freeze_last_layer=0.0, optimizer=dict(lr=1.2e-4))
param_scheduler = [dict(type='dino_plugin.ProgressScheduler', param_name='lr', by_epoch=False, schedule=1.0)]
train_cfg = dict(max_iters=iterations)
