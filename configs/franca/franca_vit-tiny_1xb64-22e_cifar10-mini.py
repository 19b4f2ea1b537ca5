# Franca's nested prototypes and rolled masks on the quickstart's 5,000 images of 32 px, on a CPU: DINOv2's preset with
# heads that read the first half and the first quarter of the features, too.
#
# Command:  python tools/train.py configs/franca/franca_vit-tiny_1xb64-22e_cifar10-mini.py  (from a checkout)
# Hardware: 2 CPU cores.
# Expected: not run by us in full. After 8 epochs leave-one-out k-NN 44.1 %, and 41.8 % with a quarter of the features
#           (docs/small_data.md, "Features cut off").
_base_ = '../dinov2/dinov2_vit-tiny_1xb64-22e_cifar10-mini.py'

# Weights: the mean over the three shares.
model = dict(nested_shares=(1 / 2, 1 / 4), losses=dict(dino=dict(weight=1 / 3), ibot=dict(weight=0.25 / 3)))
train_dataloader = dict(collate_fn=dict(roll=True))
