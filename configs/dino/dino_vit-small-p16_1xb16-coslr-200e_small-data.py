# Little data and little memory: 16 images a step instead of 64, with targets that are balanced over a queue.
#
# Command:  python tools/train.py configs/dino/dino_vit-small-p16_1xb16-coslr-200e_small-data.py --images path/to/images
# Hardware: one GPU of 8 GB (a quarter of the images of the recipe for 24 GB). Not run by us at this size.
# Expected: no figure for this network. What batch 16 does on small images: docs/small_data.md, "Small batches".
#
# The learning rate follows the batch, and so does the teacher's momentum: four steps of 16 move it like one of 64.
# Sinkhorn-Knopp balances over the 32 views of a batch and the last 480, as many as those of 256 images.
_base_ = './dino_vit-small-p16_1xb64-coslr-200e_small-data.py'

model = dict(momentum=dict(start=dict(batch=16)), losses=dict(dino=dict(target=dict(queue=480))))
train_dataloader = dict(batch_size=16)
