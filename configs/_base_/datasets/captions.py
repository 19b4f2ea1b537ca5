# Images with captions: a table of paths and captions for training, evaluation and test. Another data set takes the
# place of CaptionDataset: ShardDataset(with_captions=True), HuggingFaceDataset(caption_column=...).
__augmented = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.RandomResizedCrop', size=224, scale=(0.4, 1.0), flip_probability=0.0),  # "left" stays true
    dict(type='dino_plugin.PackCaptions', draw_one=True),
]
__plain = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.ResizeCentreCrop', resize=224, crop=224),
    dict(type='dino_plugin.PackCaptions'),
]


def __table(name, pipeline):
    return dict(
        type='dino_plugin.CaptionDataset',
        data_root='data/captions',
        data_prefix=dict(img_path='images'),
        ann_file=f'{name}.csv',
        pipeline=pipeline,
    )


train_dataloader = dict(
    batch_size=256,  # pairs on each GPU
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.caption_collate'),
    dataset=dict(type='dino_plugin.SeededDataset', dataset=__table('train', __augmented)),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='dino_plugin.caption_collate'),
    dataset=__table('val', __plain),
)
test_dataloader = dict(val_dataloader, dataset=__table('test', __plain))
val_evaluator = dict(type='dino_plugin.ImageTextRetrievalMetric', at=(1, 5, 10))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
