# DINO and PaKA's alignment of patch kernels on the quickstart's 5,000 images of 32 px, on a CPU.
#
# Command:  python tools/train.py configs/dino/dino-kernel_vit-tiny_1xb64-22e_cifar10-mini.py
# Hardware: 2 CPU cores.
# Expected: not run by us.
_base_ = '../quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'

model = dict(losses=dict(kernel=dict(type='dino_plugin.KernelAlignmentLoss', weight=1.0)))
