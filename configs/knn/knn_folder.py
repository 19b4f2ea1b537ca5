# k-NN of frozen features on class folders of your own: DIR/train/<class>/<images> and DIR/val/<class>/<images>.
#
# Command:  python tools/test.py configs/knn/knn_folder.py CHECKPOINT --images DIR
#           CHECKPOINT: of a training by tools/train.py, or exported from one; it says the size of the images
#           (--image-size N: another). --untrained: the same network before its training. With the authors' own files
#           add the network, as timm calls it: --cfg-options model.backbone.model_name=vit_small_patch16_224. timm's
#           released weights: CHECKPOINT is the word none, --cfg-options model.backbone.pretrained=True
#           model.backbone.model_name=vit_small_patch16_224.dino. Bank and queries elsewhere: --bank DIR --queries DIR
#           Several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS
# Hardware: any; a GPU for more than some thousands of images (model.precision=bf16 halves its time).
# Expected: depends on the images; without learning, 100 divided by the number of classes.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/labelled_images.py']

model = dict(
    type='dino_plugin.FeatureExtractor',
    features='class',  # or 'mean' of the patches, or 'class+mean'
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)
__labelled = _base_.pop('labelled_images')
test_dataloader = dict(__labelled, dataset=dict(__labelled.dataset, data_root='data/val'))  # the queries
test_cfg = dict(type='dino_plugin.BankTestLoop', bank_dataloader=__labelled)  # the bank: data/train
test_evaluator = dict(type='dino_plugin.KNNMetric', ks=(10, 20, 100, 200), temperature=0.07)
