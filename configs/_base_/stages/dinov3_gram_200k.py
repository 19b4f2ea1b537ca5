# DINOv3's second stage, Gram anchoring: 200,000 iterations from the teacher of the first stage.
#
# The anchor begins as the first stage's teacher. It becomes the current teacher three times, every 10,000 iterations.
# It sees the views at twice their size and without colour changes.
# The authors go on with the optimiser's state and with the student's own weights. Here both networks start from the
# teacher.
_base_ = './dinov3_pretrain_1000k.py'

__iterations = 200_000

model = dict(
    losses=dict(
        dino=dict(
            teacher_temperature=0.07,
            local_weight=dict(type='dino_plugin.Warmup', start=1.0, share=1000 / __iterations, then=0.5),
        ),
        ibot=dict(teacher_temperature=0.07),
        gram=dict(
            type='dino_plugin.GramLoss',
            weight=dict(type='dino_plugin.Warmup', start=0.0, share=1000 / __iterations, then=2.0),
            refresh=tuple(start / __iterations for start in (10_000, 20_000, 30_000)),
        ),
    ),
    momentum=0.999,
)
_base_.train_dataloader.dataset.dataset.pipeline[1].anchor_size = 512
optim_wrapper = dict(freeze_last_layer=0.0, optimizer=dict(lr=1.2e-4))
_base_.param_scheduler[0].schedule = 1.0  # constant
train_cfg = dict(max_iters=__iterations)
