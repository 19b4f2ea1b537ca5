# Windows of nine frames of the six films of DAVIS, each second frame at 112 pixels: small enough for a CPU.
_base_ = './clips.py'


def __windows(*part):
    return dict(
        _delete_=True,
        type='dino_plugin.ClipDataset',
        data_root='data/davis/JPEGImages/480p',
        part=part,
        window=9,
        stride=2,
        pipeline=[
            dict(type='dino_plugin.ReadClips', frames=5, step=2, short_side=128),
            dict(type='dino_plugin.CropClips', size=112),
            dict(type='dino_plugin.PackClips'),
        ],
    )


train_dataloader = dict(num_workers=2, drop_last=False, dataset=dict(dataset=__windows(0.0, 0.5)))
val_dataloader = dict(batch_size=8, num_workers=2, dataset=__windows(0.5, 0.75))  # chooses a probe
test_dataloader = dict(batch_size=8, num_workers=2, dataset=__windows(0.75, 1.0))
test_cfg = dict(held_out_dataloader=val_dataloader)
