# Classes by their names: class folders of your own, DIR/<class>/<images>, and a name for each.
#
# Command:  python tools/test.py configs/text/zero-shot_folder.py CHECKPOINT --images DIR \
#               --cfg-options model.classes=NAMES.txt
#           NAMES.txt: a name in each line, in the order of the sorted folders. CHECKPOINT: of a training by a config of
#           this folder, which says the towers.
# Hardware: any.
# Expected: depends on the classes; without learning, 100 divided by their number.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/labelled_images.py']

test_dataloader = _base_.pop('labelled_images')
model = dict(
    type='dino_plugin.ZeroShotClassifier',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
    classes='data/names.txt',
    templates='open_clip.OPENAI_IMAGENET_TEMPLATES',
)
test_cfg = dict()
custom_hooks = [dict(type='dino_plugin.ClassNamesHook')]
test_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))  # top-5 needs five classes
