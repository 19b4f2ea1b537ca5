# Your own folder of images with Franca's nested prototypes and rolled masks: DINOv2's recipe with heads that read the
# first half and the first quarter of the features, too. A vector that is cut off there is still a good one.
#
# Command:  python tools/train.py configs/franca/franca_vit-small-p16_1xb64-coslr-100e_custom.py --images path/to/images
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. Watch target_information in the log (0 is a collapse), and k-NN if some have labels.
#
# Franca itself nests five times, down to a sixteenth.
_base_ = '../dinov2/dinov2_vit-small-p16_1xb64-coslr-100e_custom.py'

# Weights: the mean over the three shares.
model = dict(nested_shares=(1 / 2, 1 / 4), losses=dict(dino=dict(weight=1 / 3), ibot=dict(weight=1 / 3)))
train_dataloader = dict(collate_fn=dict(roll=True))
