# DINOv3's third stage, higher resolutions: ViT-7B/16, 30,000 iterations on views of mixed sizes.
#
# Command:  on each of 32 machines: NNODES=32 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-7b-p16_256xb8-highres-30k_folder.py 8 \
#               --cfg-options model.checkpoint=work_dirs/PREVIOUS/iter_N.pth
# Hardware: as the first stage, half the batch. Not run by us.
# Expected: features that hold up to images of several thousand pixels; no figure of ours.
#
# All images of a batch, on all GPUs, have the same sizes; each batch draws its own. The anchor stays as it begins.
_base_ = './dinov3_vit-7b-p16_256xb16-gram-200k_folder.py'

# global, local and anchor views in pixels, and how often
sizes = ((512, 112, 768), (768, 112, 1152), (768, 168, 1152), (768, 224, 1152), (768, 336, 1152))
odds = (0.3, 0.3, 0.3, 0.05, 0.05)


def pipeline(global_size, local_size, anchor_size):
    return [
        dict(type='dino_plugin.LoadImage'),
        dict(
            type='dino_plugin.MultiCrop',
            global_size=global_size,
            global_scale=(0.32, 1.0),
            local_size=local_size,
            local_scale=(0.05, 0.32),
            num_local=8,
            anchor_size=anchor_size,
            photometric='paper',
            flip_probability=0.0,
            split='auto',
        ),
        dict(type='dino_plugin.PackViews'),
    ]


model = dict(
    checkpoint='work_dirs/dinov3_vit-7b-p16_256xb16-gram-200k_folder/iter_200000.pth',
    losses=dict(
        dino=dict(local_weight=0.5),
        koleo=dict(over_ranks=True),
        gram=dict(weight=1.5, refresh=()),
    ),
)
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='dino_plugin.MixedBatchSampler', batch_size=8, odds=odds),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='dino_plugin.MultiPipelineDataset',
            dataset=dict(type='dino_plugin.ImageDataset', data_root='data/images'),
            pipelines=[pipeline(*size) for size in sizes],
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(
        type='dino_plugin.ProgressScheduler',
        param_name='lr',
        by_epoch=False,
        schedule=dict(type='dino_plugin.Warmup', start=0.0, share=1 / 3, then=1.0),
    )
]
train_cfg = dict(max_iters=30_000)
