# The losses and the head of LeJEPA, in place of those of DINO. They are a part, not a setting: a recipe of LeJEPA takes
# `lejepa` out and merges it into the model of a recipe of DINO. Its one network is the student; what DINO calls its
# teacher is the student's average, which is evaluated and teaches nothing.
lejepa = dict(
    heads=dict(
        cls=dict(
            _delete_=True,
            type='lightly.models.modules.heads.BarlowTwinsProjectionHead',  # its outputs have any length
            hidden_dim=512,
            output_dim=64,
        ),
    ),
    losses=dict(
        _delete_=True,
        predict=dict(type='dino_plugin.ViewMeanLoss', head='cls', weight=0.95),
        gaussian=dict(type='dino_plugin.SIGRegLoss', head='cls', weight=0.05, slices=256),
    ),
)
