# The optimiser that fine-tunes a transformer: layers near the image learn more slowly, positions and class token do
# not decay. The recipe gives learning rate and layer decay.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', betas=(0.9, 0.999), weight_decay=0.05),
    constructor='dino_plugin.ParameterGroups',
    paramwise_cfg=dict(custom_keys=dict(pos_embed=dict(decay_mult=0.0), cls_token=dict(decay_mult=0.0))),
)
