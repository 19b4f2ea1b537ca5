"""A complete training config that takes a second on CPU: real components, real images, a tiny network."""

from bundled import CIFAR
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner


def small_config(work_dir, **changes) -> Config:
    """100 images (``indices``), 2 global views of 32 and 2 local views of 16 pixels, 6 iterations of 16 an epoch.

    ``changes`` are dotted paths with ``.`` written as ``__``: ``train_cfg__max_epochs=3``.
    """
    config = Config(
        dict(
            model=dict(
                type='dino_plugin.SelfDistillationModel',
                data_preprocessor=dict(type='dino_plugin.ViewPreprocessor'),
                backbone=dict(
                    type='dino_plugin.TimmBackbone',
                    model_name='vit_tiny_patch16_224',
                    patch_size=8,
                    img_size=32,
                    embed_dim=32,
                    depth=2,
                    num_heads=2,
                    drop_path_rate=0.1,
                ),
                heads=dict(cls=dict(type='dino_plugin.DINOHead', prototypes=32, hidden_dim=48, bottleneck_dim=16)),
                losses=dict(
                    dino=dict(
                        type='dino_plugin.DINOLoss',
                        head='cls',
                        teacher_temperature=dict(type='dino_plugin.Warmup', start=0.04, share=0.3, then=0.07),
                        target=dict(type='dino_plugin.Centering'),
                    )
                ),
                momentum=dict(type='dino_plugin.Cosine', start=0.9, end=1.0),
            ),
            optim_wrapper=dict(
                type='dino_plugin.SelfDistillationOptimWrapper',
                constructor='dino_plugin.ParameterGroups',
                precision='fp32',
                freeze_last_layer=0.1,
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04, fused=True),
            ),
            param_scheduler=[
                dict(
                    type='dino_plugin.ProgressScheduler',
                    param_name='lr',
                    by_epoch=False,
                    schedule=dict(
                        type='dino_plugin.Warmup',
                        start=0.1,
                        share=0.2,
                        then=dict(type='dino_plugin.Cosine', start=1, end=0.01),
                    ),
                ),
                dict(
                    type='dino_plugin.ProgressScheduler',
                    param_name='weight_decay',
                    by_epoch=False,
                    schedule=dict(type='dino_plugin.Cosine', start=1, end=10),
                ),
            ],
            train_cfg=dict(type='dino_plugin.ResumableEpochLoop', max_epochs=2),
            custom_hooks=[
                dict(type='dino_plugin.EMATeacherHook'),
                dict(type='dino_plugin.SkippedStepsHook', max_in_a_row=3),
                dict(type='dino_plugin.CollapseMonitorHook', interval=4),
            ],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4),
                logger=dict(type='LoggerHook', interval=4),
            ),
            train_dataloader=dict(
                batch_size=16,
                num_workers=0,
                drop_last=True,
                sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
                collate_fn=dict(type='dino_plugin.multi_crop_collate'),
                dataset=dict(
                    type='dino_plugin.SeededDataset',
                    dataset=dict(
                        type='dino_plugin.ImageDataset',
                        data_root=str(CIFAR),
                        indices=100,
                        pipeline=[
                            dict(type='dino_plugin.LoadImage'),
                            dict(type='dino_plugin.MultiCrop', global_size=32, local_size=16, num_local=2),
                            dict(type='dino_plugin.PackViews'),
                        ],
                    ),
                ),
            ),
            work_dir=str(work_dir),
            randomness=dict(seed=0),
            log_level='WARNING',
            default_scope='mmengine',
        )
    )
    config.merge_from_dict({path.replace('__', '.'): value for path, value in changes.items()})
    return config


_BUILT: list = []


def build_runner(config: Config) -> Runner:
    """mmengine keeps runners by name, so each gets its own."""
    _BUILT.append(None)
    config.experiment_name = f'small_{len(_BUILT)}'
    return Runner.from_cfg(config)


def hook(config: Config, name: str) -> ConfigDict:
    """The custom hook of this type."""
    return next(entry for entry in config.custom_hooks if entry.type.endswith(name))
