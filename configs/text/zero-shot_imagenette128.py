# Zero-shot classification of Imagenette, ten classes of ImageNet, squashed to the size of the flickr1k recipe.
#
# Command:  python tools/test.py configs/text/zero-shot_imagenette128.py CHECKPOINT
#           with data/imagenette128/val/<class>/. CHECKPOINT: of vit-small-p14_1xb80-20e_flickr1k.py.
# Hardware: one core.
# Expected: docs/evaluators/text.md
_base_ = './zero-shot_folder.py'

model = dict(
    classes=[
        'tench', 'English springer', 'cassette player', 'chain saw', 'church', 'French horn', 'garbage truck',
        'gas pump', 'golf ball', 'parachute',
    ],
)  # fmt: skip
__pipeline = _base_.test_dataloader.dataset.pipeline
__pipeline[1] = dict(type='Resize', scale=(112, 112), backend='pillow', interpolation='bicubic')
test_dataloader = dict(num_workers=0, dataset=dict(data_root='data/imagenette128/val', pipeline=__pipeline))
test_evaluator = dict(topk=(1, 5))
