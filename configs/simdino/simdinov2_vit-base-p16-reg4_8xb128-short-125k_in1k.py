# SimDINOv2 with a ViT-B/16: the recipe of the ViT-L/16 with another network, as their README says to do it.
#
# Command:  bash tools/dist_train.sh configs/simdino/simdinov2_vit-base-p16-reg4_8xb128-short-125k_in1k.py 8
# Hardware: 8 GPUs of 40 GB or more. Not run by us.
# Expected: ImageNet k-NN 78.1 %, linear 79.7 % (README of RobinWu218/SimDINO; DINOv2 in their hands: 76.0 and 77.2).
_base_ = './simdinov2_vit-large-p16-reg4_8xb128-short-125k_in1k.py'

model = dict(backbone=dict(model_name='vit_base_patch14_reg4_dinov2'))
