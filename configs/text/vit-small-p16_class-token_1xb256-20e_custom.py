# LiT: texts learn the class token of a frozen backbone, to which nothing is added; here with SigLIP's loss, which suits
# small batches. Images and captions of your own, as in vit-small-p16_1xb256-20e_custom.py.
#
# Command:  python tools/train.py configs/text/vit-small-p16_class-token_1xb256-20e_custom.py --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: one GPU. Not run by us.
# Expected: depends on the captions. Its texts cannot be compared with patches: no segmentation, no heat maps.
_base_ = './vit-small-p16_1xb256-20e_custom.py'

model = dict(vision=dict(blocks=0, features='class'), loss=dict(kind='sigmoid'))
