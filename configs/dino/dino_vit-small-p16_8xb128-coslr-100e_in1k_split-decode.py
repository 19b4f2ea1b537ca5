# DINO's vanilla run with split='decode': workers only decode; the GPU cuts, resizes and changes colours.
# For a GPU with few CPU cores. The two lines below do the same to any recipe.
#
# Command:  bash tools/dist_train.sh configs/dino/dino_vit-small-p16_8xb128-coslr-100e_in1k_split-decode.py 8
# Hardware: as dino_vit-small-p16_8xb128-coslr-100e_in1k.py. Not run by us; what a worker saves: docs/performance.md.
# Expected: the figures of that recipe; the views differ by at most one grey level.
_base_ = './dino_vit-small-p16_8xb128-coslr-100e_in1k.py'
_base_.train_dataloader.dataset.dataset.pipeline[1].split = 'decode'
