# Images of 13 bands, as Sentinel-2 has them: reflectance times 10,000. It is a part, not a setting: a recipe takes
# `sentinel2` out, and puts its entries in their places. Mean and std are no measurement (docs/channels.md).
sentinel2 = dict(
    load=dict(type='dino_plugin.LoadChannels', num_channels=13, value_range=(0, 10_000)),
    model=dict(
        backbone=dict(in_chans=13),
        data_preprocessor=dict(mean=[64.0] * 13, std=[32.0] * 13),  # in levels of [0, 255]
    ),
    train_dataloader=dict(dataset=dict(dataset=dict(data_root='data/channels'))),
)
