# TokenCut on the 5,011 images of VOC07's trainval, as its authors measure it: images keep their size.
#
# Command:  python tools/test.py configs/discovery/token_cut_voc07.py CHECKPOINT
#           after unpacking VOCtrainval_06-Nov-2007.tar to data/VOCdevkit/VOC2007. VOC12: with
#           --cfg-options test_dataloader.dataset.data_root=data/VOCdevkit/VOC2012 (11,540 images)
# Hardware: one GPU, or a CPU in some hours. Not run by us on these sets.
# Expected: corloc as published, VOC07 / VOC12: TokenCut ViT-S/16 68.8 / 72.1, ViT-S/8 67.3 / 71.6, ViT-B/16 68.8 / 72.4
#           (YangtaoWANG95/TokenCut); LOST (model.method=lost) ViT-S/16 61.9 / 64.0, ViT-S/8 55.5 / 57.0, ViT-B/16
#           60.1 / 63.3 (valeoai/LOST).
_base_ = './token_cut_folder.py'

model = dict(short_side=None)
test_dataloader = dict(
    dataset=dict(
        data_root='data/VOCdevkit/VOC2007',
        images='JPEGImages',
        boxes='Annotations',
        names='ImageSets/Main/trainval.txt',
    )
)
