# Landmarks of the revisited Paris: data/rparis6k/gnd_rparis6k.pkl and data/rparis6k/jpg/<images>; three scales.
#
# Command:  python tools/test.py configs/retrieval/landmarks_rparis6k.py CHECKPOINT
#           For the options see landmarks_roxford5k.py.
# Hardware: one GPU; 6,322 images of up to 512 px at three scales. Not run by us.
# Expected: landmarks/mAP/Medium and Hard in the paper of DINO, queries not cut (from memory, not checked): ViT-S/16 of
#           ImageNet 63.1 and 34.4 %, trained on landmarks (GLDv2) 75.3 and 51.6 %.
_base_ = './landmarks_roxford5k.py'

model = dict(scales=(1, 2**-0.5, 0.5))
__resize = dict(longest=512)
_base_.test_dataloader.dataset.pipeline[2].update(__resize)
_base_.test_cfg.bank_dataloader.dataset.pipeline[1].update(__resize)
test_dataloader = dict(dataset=dict(data_root='data/rparis6k'))
test_cfg = dict(bank_dataloader=dict(dataset=dict(data_root='data/rparis6k')))
