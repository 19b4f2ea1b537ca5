# Copy detection on any folder of images: each is cut, compressed, blurred, written on, turned, printed (mild and
# strong), and the original has to be found among all images of the folder.
#
# Command:  python tools/test.py configs/retrieval/copies_folder.py CHECKPOINT --images DIR
#           Some attacks only: --cfg-options test_dataloader.dataset.attacks=[crop-strong,text-strong]; other images
#           that are never right: --cfg-options test_cfg.bank_dataloader.dataset.distractors=OTHER_DIR. See
#           ../knn/knn_folder.py for CHECKPOINT.
# Hardware: any; 14 attacks: the network sees each image 15 times.
# Expected: depends on the images. 60 images of Imagenette of 128 px at 112 px, among 850 others: raw pixels 76.8 % at
#           best (32 px, the bank's mean removed), an untrained ViT-S/14 71.0 %. Compressed, blurred and noisy copies
#           are easy for pixels, strong crops (8 %) and rotations (18 %) are not.
_base_ = './retrieval_folder.py'

model = dict(features='class+gem')
__resize = dict(type='dino_plugin.ResizeWhole', square=320)
__load, __pack = dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')
__attacked = [__load, dict(type='dino_plugin.AttackImage'), __resize, __pack]
__copies = dict(type='dino_plugin.AttackedImages', data_root='data/images', seed=0, pipeline=__attacked)
__originals = dict(type='dino_plugin.OriginalImages', data_root='data/images', pipeline=[__load, __resize, __pack])
__loader = dict(_base_.test_dataloader, batch_size=32)
test_dataloader = dict(_delete_=True, **dict(__loader, dataset=__copies))
test_cfg = dict(bank_dataloader=dict(__loader, dataset=__originals))
test_evaluator = dict(_delete_=True, type='dino_plugin.CopyMetric', at=(1,), whitening='none')
