# Pixels by names of classes; the towers are in the checkpoint.
model = dict(
    type='dino_plugin.TextSegmenter',
    backbone=dict(type='dino_plugin.TimmBackbone'),
    templates='open_clip.OPENAI_IMAGENET_TEMPLATES',
    window=384,
    stride=192,
    data_preprocessor=dict(type='mmseg.SegDataPreProcessor', bgr_to_rgb=True),  # mean and std: the checkpoint's
)
custom_hooks = [dict(type='dino_plugin.ClassNamesHook')]
