# Landmarks of the revisited Oxford: data/roxford5k/gnd_roxford5k.pkl and data/roxford5k/jpg/<images>.
#
# Command:  python tools/test.py configs/retrieval/landmarks_roxford5k.py CHECKPOINT
#           Queries are cut to their boxes, as the protocol has it. DINO's code takes whole images:
#           test_dataloader.dataset.crop=False. Elsewhere: test_dataloader.dataset.data_root=DIR
#           test_cfg.bank_dataloader.dataset.data_root=DIR; a million distractors:
#           test_cfg.bank_dataloader.dataset.distractors=DIR. See ../knn/knn_folder.py for CHECKPOINT.
# Hardware: one GPU; 4,993 images, one at a time, since each has its own shape. Not run by us.
# Expected: landmarks/mAP/Medium and Hard in the paper of DINO, queries not cut (from memory, not checked): ViT-S/16 of
#           ImageNet 41.8 and 13.7 %, trained on landmarks (GLDv2) 51.5 and 24.3 %. Hard in the MODEL_CARD of DINOv2,
#           whose protocol is not published: ViT-S/14 43.2 %, ViT-B/14 49.5 %, ViT-L/14 54.0 %.
_base_ = './retrieval_folder.py'

__resize = dict(type='dino_plugin.ResizeWhole', longest=224)
__load, __pack = dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')
__cut = [__load, dict(type='dino_plugin.CutToBox'), __resize, __pack]
__queries = dict(type='dino_plugin.LandmarkQueries', data_root='data/roxford5k', crop=True, pipeline=__cut)
__bank = dict(type='dino_plugin.LandmarkBank', data_root='data/roxford5k', pipeline=[__load, __resize, __pack])
__loader = dict(_base_.test_dataloader, batch_size=1)
test_dataloader = dict(_delete_=True, **dict(__loader, dataset=__queries))
test_cfg = dict(bank_dataloader=dict(__loader, dataset=__bank))
test_evaluator = dict(_delete_=True, type='dino_plugin.LandmarkMetric', at=(1, 5, 10), whitening='none')
