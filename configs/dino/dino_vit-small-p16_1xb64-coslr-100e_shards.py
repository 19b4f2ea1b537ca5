# Your own images in tar shards, as img2dataset or `dino-plugin make_shards FOLDER SHARDS` writes them, on a disk or in
# a store (s3://bucket/shards). Any other recipe takes shards, too: `--images SHARDS` sets the two types below.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb64-coslr-100e_shards.py --images path/to/shards
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: as dino_vit-small-p16_1xb64-coslr-100e_custom.py with the same images.
_base_ = './dino_vit-small-p16_1xb64-coslr-100e_custom.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='dino_plugin.ShardSampler', window=8),  # shards at a time
    dataset=dict(dataset=dict(type='dino_plugin.ShardDataset', data_root='data/shards')),
)
