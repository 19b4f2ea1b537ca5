# Heads and losses of CAPI, and its masks: one rolled block of 35 % of the patches is seen.
__balanced = dict(type='dino_plugin.PositionwiseSinkhornKnopp', iterations=3)

cluster_prediction = dict(
    heads=dict(
        _delete_=True,
        clusters=dict(type='dino_plugin.ClusterHead', prototypes=4096),
        predictor=dict(type='dino_plugin.PatchPredictor', prototypes=4096, dim=384, depth=6, num_heads=6),
    ),
    losses=dict(
        _delete_=True,
        clustering=dict(type='dino_plugin.ClusteringLoss', head='clusters', target=__balanced),
        prediction=dict(
            type='dino_plugin.ClusterPredictionLoss', head='predictor', clusters='clusters', target=__balanced
        ),
    ),
)
mostly_hidden = dict(
    type='dino_plugin.masked_collate', patch_size=16, share=1.0, ratio=(0.65, 0.65), inverse=True, roll=True
)
