# Retrieval by class: each image of DIR/<class>/<images> is searched for among all others of DIR.
#
# Command:  python tools/test.py configs/retrieval/retrieval_folder.py CHECKPOINT --images DIR
#           With a bank of its own: put test_cfg.bank_dataloader, as in copies_folder.py, into a config of yours.
#           See ../knn/knn_folder.py for what CHECKPOINT may be.
# Hardware: any; a GPU for more than some thousands of images. All pairs are compared and sorted: 10,000 images take
#           15 s of one core. For millions: test_evaluator.depth=100 test_evaluator.index=ivf, see class_retrieval.
# Expected: depends on the images; mAP of any order is about 100 divided by the number of classes.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/labelled_images.py']

model = dict(
    type='dino_plugin.DescriptorExtractor',
    features='class',  # or 'mean' of the patches, 'class+mean', 'gem', 'class+gem'
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)
test_dataloader = _base_.pop('labelled_images')
test_cfg = dict(type='dino_plugin.BankTestLoop')
test_evaluator = dict(type='dino_plugin.ClassRetrievalMetric', at=(1, 5, 10), whitening='none')
