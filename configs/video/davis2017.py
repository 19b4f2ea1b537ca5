# Label propagation on DAVIS-2017 val: 30 clips, 61 objects, 480p.
#
# Command:  python tools/test.py configs/video/davis2017.py CHECKPOINT
#           after unpacking DAVIS-2017-trainval-480p.zip (davischallenge.org) to data/DAVIS; see davis_folder.py.
# Hardware: one GPU. Not run by us.
# Expected: J&F / J / F as the authors published, quoted from memory, not checked: DINO ViT-S/16 61.8 / 60.2 / 63.4,
#           ViT-B/16 62.3 / 60.7 / 63.9, ViT-S/8 69.9 / 66.6 / 73.1, ViT-B/8 71.4 / 67.9 / 74.9. A rerun of ViT-S/16
#           with their later code: 61.8 (facebookresearch/dino, pull request 46).
_base_ = './davis_folder.py'

test_dataloader = dict(dataset=dict(data_root='data/DAVIS', year=2017, split='val'))
