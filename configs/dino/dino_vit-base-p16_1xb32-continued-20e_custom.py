# Start from the released DINO ViT-B/16 and train it on images of your own.
#
# Command:  python tools/train.py configs/dino/dino_vit-base-p16_1xb32-continued-20e_custom.py --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
_base_ = './dino_vit-small-p16_1xb64-continued-20e_custom.py'

model = dict(backbone=dict(model_name='vit_base_patch16_224.dino'), momentum=dict(start=0.999))
train_dataloader = dict(batch_size=32)
