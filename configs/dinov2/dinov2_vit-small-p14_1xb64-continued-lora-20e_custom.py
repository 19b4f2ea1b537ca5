# Start from a released backbone and train low-rank adapters in it, on images of your own.
#
# Command:  python tools/train.py configs/dinov2/dinov2_vit-small-p14_1xb64-continued-lora-20e_custom.py \
#               --images path/to/images
#           (downloads timm's weights; for a file: --init FILE)
# Hardware: one GPU of 24 GB; the time grows with the number of images. Not run by us.
# Expected: depends on the images. The table at the end of the log says whether it helped; best.pth in the working
#           directory is the best network, the one of the start if nothing was better.
#
# Needs peft: pip install "dino_plugin[lora]". Exports and evaluators get plain weights, the adapters merged. To train
# the normalisations too: --cfg-options "model.backbone.lora.trained=['norm']"
# docs/adapt.md compares it with the normalisations alone and with the whole network.
_base_ = './dinov2_vit-small-p14_1xb64-continued-20e_custom.py'

model = dict(backbone=dict(lora=dict(r=8, lora_alpha=16, trained=[])))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True, backbone=dict(lr_mult=0.2))))
