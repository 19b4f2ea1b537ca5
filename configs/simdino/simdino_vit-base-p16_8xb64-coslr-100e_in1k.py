# SimDINO: DINO without prototypes, centre and temperatures; ViT-B/16, ImageNet-1k, 100 epochs.
#
# Command:  bash tools/dist_train.sh configs/simdino/simdino_vit-base-p16_8xb128-coslr-100e_in1k.py 8
# Hardware: 8 GPUs of 80 GB. Not run by us.
# Expected: ImageNet k-NN 74.9 %, linear 77.3 % (README of RobinWu218/SimDINO; DINO in their hands: 72.9 and 76.3).
#
# Everything else is DINO's recipe, as by default in their code (simdino/main_dino.py), which does not say on how many
# GPUs it ran. The coding rate is that of each GPU's own images, as there.
_base_ = ['../dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py', '../_base_/models/simdino.py']

model = _base_.pop('simdino')
model.update(backbone=dict(model_name='vit_base_patch16_224'))
