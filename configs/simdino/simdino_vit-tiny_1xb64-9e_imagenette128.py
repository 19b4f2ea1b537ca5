# SimDINO on Imagenette, on a CPU: DINO's config for the same images with other losses.
#
# Command:  python tools/train.py configs/simdino/simdino_vit-tiny_1xb64-9e_imagenette128.py
#           with the images of configs/dino/dino_vit-tiny_1xb64-9e_imagenette128.py
# Hardware: 2 CPU cores.
# Expected: not run by us.
_base_ = ['../dino/dino_vit-tiny_1xb64-9e_imagenette128.py', '../_base_/models/simdino.py']

model = _base_.pop('simdino')
