# dino.txt's recipe: two blocks on a frozen ViT-L/16 and a text tower of 24 layers, on captions in tar shards.
#
# Command:  on each of 4 machines: NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#               configs/text/vit-large-p16_32xb256-50k_coco-shards.py 8 --init CHECKPOINT
#           with shards of images and members .txt or .json in data/coco-shards (dino-plugin index_shards), and the
#           tables data/coco/{val,test}.csv to evaluate. CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: 32 GPUs. Not run by us.
# Expected: not run by us. Its authors' data are not public.
_base_ = './vit-small-p16_1xb256-20e_custom.py'

__shards = dict(_delete_=True, type='dino_plugin.ShardDataset', data_root='data/coco-shards', with_captions=True)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='dino_plugin.ShardSampler'),
    dataset=dict(dataset=dict(__shards, pipeline=_base_.train_dataloader.dataset.dataset.pipeline)),
)
val_dataloader = dict(dataset=dict(data_root='data/coco'))
test_dataloader = dict(dataset=dict(data_root='data/coco'))
model = dict(text=dict(width=1280, heads=20, layers=24))
train_cfg = dict(_delete_=True, type='dino_plugin.ResumableIterLoop', max_iters=50_000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000, save_best=None))
