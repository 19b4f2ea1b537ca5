# Little data and little memory with DINOv2's losses: 16 images a step instead of 64, targets balanced over queues.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p16_1xb16-coslr-200e_small-data.py \
#               --images path/to/images
# Hardware: one GPU of 8 GB (a quarter of the images of the recipe for 24 GB). Not run by us.
# Expected: no figure for this network. What batch 16 does to DINO on small images: docs/small_data.md, "Small batches".
#
# A batch has about 480 masked patches, and the queue adds the last 2,048.
_base_ = './dinov2_vit-small-p16_1xb64-coslr-200e_small-data.py'

model = dict(
    momentum=dict(start=dict(batch=16)),
    losses=dict(dino=dict(target=dict(queue=480)), ibot=dict(target=dict(queue=2048))),
)
train_dataloader = dict(batch_size=16)
