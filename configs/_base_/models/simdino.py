# The losses and the head of SimDINO, in place of those of DINO. They are a part, not a setting: a recipe of SimDINO
# takes `simdino` out and merges it into the model of a recipe of DINO.
simdino = dict(
    heads=dict(cls=dict(prototypes=None)),
    losses=dict(
        _delete_=True,
        align=dict(type='dino_plugin.AlignmentLoss', head='cls'),
        spread=dict(type='dino_plugin.CodingRateLoss', head='cls', squared_error=0.5),
    ),
)
