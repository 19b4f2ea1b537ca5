# What all configs of films share: clips of 16 frames, each fourth; random views to learn from, three views to test.
_base_ = '../default_runtime.py'


def __films(folder, read, crop):
    pipeline = [read, crop, dict(type='dino_plugin.PackClips')]
    return dict(type='dino_plugin.ClipDataset', data_root=folder, pipeline=pipeline)


def __loader(dataset):
    return dict(
        batch_size=1,  # of films: three views of eight clips are 384 frames
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        collate_fn=dict(type='dino_plugin.image_collate'),
        dataset=dataset,
    )


__read = dict(type='dino_plugin.ReadClips', frames=16, step=4, clips=8, short_side=256)
# The smallest crop, 0.3 of a frame, still has 224 pixels; 128 frames of 1080 x 1920 pixels as they are take 0.8 GB.
__drawn = dict(__read, random=True, short_side=410, only_shrink=True)
__random = dict(type='dino_plugin.RandomCropClips', size=224, scale=(0.3, 1.0), flip_probability=0.5)
__three, __centre = (dict(type='dino_plugin.CropClips', size=224, views=views) for views in (3, 1))
__train = 'data/clips/train'
__split = dict(type='dino_plugin.HeldOutSplit', share=0.1, seed=0)

train_dataloader = dict(
    batch_size=8,  # films on each GPU
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
    collate_fn=dict(type='dino_plugin.image_collate'),
    dataset=dict(
        type='dino_plugin.SeededDataset',
        dataset=dict(__split, held_out=False, dataset=__films(__train, __drawn, __random)),
    ),
)
val_dataloader = __loader(dict(__split, held_out=True, dataset=__films(__train, __read, __centre)))
test_dataloader = __loader(__films('data/clips/val', __read, __three))
val_evaluator = dict(type='dino_plugin.ClipMetric')
test_evaluator = dict(type='dino_plugin.ClipMetric', choose_on='held_out')
val_cfg = dict()
# The held-out tenth of the training films chooses the probe, which is not trained again with it.
test_cfg = dict(type='dino_plugin.LinearGridTestLoop', held_out_dataloader=val_dataloader)
default_hooks = dict(
    backbone=dict(type='dino_plugin.DescribeBackboneHook'),
    visualization=dict(type='dino_plugin.ClipPicturesHook', draw=False),
)
