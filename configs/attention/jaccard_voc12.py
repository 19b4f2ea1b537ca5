# Attention masks on the 1,449 images of VOC12's segmentation val, as the authors of DINO measure them.
#
# Command:  python tools/test.py configs/attention/jaccard_voc12.py CHECKPOINT
#           after unpacking VOCtrainval_11-May-2012.tar to data/VOCdevkit/VOC2012
# Hardware: one GPU, or a CPU for about an hour with ViT-S. Not run by us on this set.
# Expected: jaccard_best_head as published (arXiv:2104.14294): DINO ViT-S/16 45.9, supervised 27.3, untrained 22.0;
#           ViT-S/8 44.7, 23.7, 21.8. The authors published no code: the size of the images (here 480 px) and what
#           becomes of void pixels (here they do not count) are our choice.
_base_ = './jaccard_folder.py'

test_dataloader = dict(
    dataset=dict(
        data_root='data/VOCdevkit/VOC2012',
        images='JPEGImages',
        masks='SegmentationObject',
        names='ImageSets/Segmentation/val.txt',
    )
)
