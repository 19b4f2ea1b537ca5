# DINOv2's losses on the quickstart's 5,000 images of 32 px, on a CPU: a head of its own for the patches.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-tiny_1xb64-22e_cifar10-mini.py (from the top of a checkout)
# Hardware: 2 CPU cores; about 17 minutes on one thread, as iBOT's.
# Expected: with train_cfg.max_epochs=8 k-NN top-1 (k 20) of the class token 41.2 %, joined with the mean patch 43.1 %;
#           DINO: 40.7 and 43.1 %. Measured by us, seed 0; 22 epochs not run (docs/small_data.md).
_base_ = '../ibot/ibot_vit-tiny_1xb64-22e_cifar10-mini.py'

model = dict(heads=dict(patch={{_base_.model.heads.cls}}), losses=dict(ibot=dict(head='patch')))
