# 1,000 photographs of Flickr8k with five captions each: 720 to learn, 80 to choose, 200 to test; small towers, no GPU.
#
# Command:  python tools/train.py configs/text/vit-small-p14_1xb80-20e_flickr1k.py --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           with data/flickr1k/{images/,train.csv,test.csv}. CHECKPOINT: a ViT-S/14.
# Hardware: one core.
# Expected: docs/evaluators/text.md
_base_ = './vit-small-p16_1xb256-20e_custom.py'

__whole = dict(type='Resize', scale=(112, 112), backend='pillow', interpolation='bicubic')  # squashed, nothing cut off
__train, __test = _base_.train_dataloader.dataset.dataset, _base_.test_dataloader.dataset
__train.pipeline[1], __test.pipeline[1] = __whole, __whole
__images = dict(data_root='data/flickr1k', ann_file='train.csv')
train_dataloader = dict(
    batch_size=80, num_workers=0, persistent_workers=False,
    dataset=dict(dataset=dict(__images, indices=list(range(720)), pipeline=__train.pipeline)),
)  # fmt: skip
val_dataloader = dict(num_workers=0, dataset=dict(__images, indices=list(range(720, 800)), pipeline=__test.pipeline))
test_dataloader = dict(num_workers=0, dataset=dict(__images, ann_file='test.csv', pipeline=__test.pipeline))
model = dict(keep=1000, vision=dict(blocks=1), text=dict(width=256, heads=4, layers=4, context_length=32))
optim_wrapper = dict(optimizer=dict(weight_decay=0.1))
train_cfg = dict(val_interval=5)
