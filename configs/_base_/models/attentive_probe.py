# Attentive probes on a frozen backbone, one for each learning rate x weight decay. V-JEPA's form: one query looks at
# all patches of all frames. DINOv3's: model.num_self_blocks=4 model.time=rope.
model = dict(
    type='dino_plugin.ClipClassifier',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
    learning_rates=(5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
    weight_decays=(0.01, 0.1, 0.4, 0.8),
    num_self_blocks=0,
    time='sincos',  # an image backbone sees single frames: without positions the order makes no difference
    precision='fp32',
)
custom_hooks = [dict(type='dino_plugin.KeepTokensHook', max_gigabytes=10.0)]
