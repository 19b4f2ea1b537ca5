# DINOv3's third stage, higher resolutions: 30,000 iterations on views of mixed sizes, from the teacher of the second.
#
# All images of a batch, on all GPUs, have the same sizes; each batch draws its own. The anchor stays as it begins.
# KoLeo looks for the nearest neighbour among 16 images, of two GPUs if each has 8, so that the number of GPUs does not
# matter.
_base_ = './dinov3_gram_200k.py'

# global, local and anchor views in pixels, and how often
__sizes = ((512, 112, 768), (768, 112, 1152), (768, 168, 1152), (768, 224, 1152), (768, 336, 1152))
__odds = (0.3, 0.3, 0.3, 0.05, 0.05)
__load, __multi_crop, __pack = _base_.train_dataloader.dataset.dataset.pipeline

model = dict(
    losses=dict(
        dino=dict(local_weight=0.5),
        koleo=dict(over_ranks=True, group_size=16),
        gram=dict(weight=1.5, refresh=()),
    ),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='dino_plugin.MixedBatchSampler', odds=__odds),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='dino_plugin.MultiPipelineDataset',
            dataset=dict(type='dino_plugin.ImageDataset', data_root='data/images'),
            pipelines=[
                [__load, dict(__multi_crop, global_size=large, local_size=small, anchor_size=anchor), __pack]
                for large, small, anchor in __sizes
            ],
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
_base_.param_scheduler[0].schedule = dict(type='dino_plugin.Warmup', start=0.0, share=1 / 3, then=1.0)
train_cfg = dict(max_iters=30_000)
