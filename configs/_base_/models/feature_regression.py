# Features of a frozen teacher as targets, in place of the losses and the head of DINO. A part, not a setting: a recipe
# takes `feature_regression` out and merges it into the model of a recipe of DINO. The heads take their widths from
# student and teacher.
feature_regression = dict(
    heads=dict(
        _delete_=True,
        to_class=dict(type='dino_plugin.ProjectionHead', hidden_dim=512),
        to_patch=dict(type='dino_plugin.ProjectionHead', hidden_dim=512),
    ),
    losses=dict(
        _delete_=True,
        regression=dict(
            type='dino_plugin.FeatureRegressionLoss',
            teacher=dict(type='dino_plugin.TimmBackbone', checkpoint='teacher.safetensors'),
            class_head='to_class',
            patch_head='to_patch',
            distance='cosine',
        ),
    ),
)
