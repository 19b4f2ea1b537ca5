# ViT-L/16 by DINOv3's first stage on three sources in shards: nine of ten batches mix curated and retrieved images
# 3 : 1, the tenth is ImageNet-1k alone.
#
# Command:  on each of 8 machines: NNODES=8 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/dinov3/dinov3_vit-large-p16_64xb64-pretrain-1000k_sources.py 8
# Hardware: 64 GPUs of 80 GB. Not run by us.
# Expected: no figure is published. The paper has batches of both kinds, ImageNet's one in ten; the odds 3 : 1 are ours.
_base_ = './dinov3_vit-large-p16_64xb64-pretrain-1000k_folder.py'

__source = dict(type='dino_plugin.ShardDataset', pipeline=_base_.train_dataloader.dataset.dataset.pipeline)
__sources = [dict(__source, data_root=f'data/{name}') for name in ('curated', 'retrieved', 'imagenet_shards')]
__batches = [(0.9, (3, 1, 0)), (0.1, (0, 0, 1))]  # probability of the kind, and odds of the sources in it
train_dataloader = dict(
    sampler=dict(_delete_=True, type='dino_plugin.SourceSampler', batches=__batches, batch_size=64, window=8),
    dataset=dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=__sources)),
)
