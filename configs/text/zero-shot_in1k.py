# Zero-shot classification of ImageNet-1k with CLIP's names and its eighty sentences.
#
# Command:  python tools/test.py configs/text/zero-shot_in1k.py CHECKPOINT
#           with ImageNet in data/imagenet/val/<class>/. CHECKPOINT: as in zero-shot_folder.py.
# Hardware: one GPU. Not run by us.
# Expected: not run by us; LiT's published figure: docs/evaluators/text.md.
_base_ = './zero-shot_folder.py'

model = dict(classes='open_clip.IMAGENET_CLASSNAMES')
test_dataloader = dict(dataset=dict(data_root='data/imagenet/val'))
test_evaluator = dict(topk=(1, 5))
