# Text for a frozen backbone on one GPU, from images and captions of your own: data/captions/{train,val,test}.csv with
# the columns image and caption, and the images in data/captions/images.
#
# Command:  python tools/train.py configs/text/vit-small-p16_1xb256-20e_custom.py --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           CHECKPOINT: as in configs/knn/knn_folder.py. Without test.csv: test_dataloader.dataset.ann_file=val.csv
# Hardware: one GPU. Not run by us with this network.
# Expected: depends on the captions; the same on 800 photographs: vit-small-p14_1xb80-20e_flickr1k.py.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/captions.py',
    '../_base_/models/image_text.py',
    '../_base_/schedules/image_text.py',
]

model = dict(text=dict(width=512, heads=8, layers=12))  # CLIP's for ViT-B
default_hooks = dict(
    backbone=dict(type='dino_plugin.DescribeBackboneHook'),
    checkpoint=dict(save_best='retrieval/mean_recall', rule='greater'),
)
