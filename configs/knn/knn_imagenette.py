# k-NN on Imagenette (ten classes of ImageNet): a bank of 9,469 labelled images, 3,925 queries.
#
# Command:  python tools/test.py configs/knn/knn_imagenette.py CHECKPOINT
#           after unpacking imagenette2-320.tgz (fastai) to data/imagenette2-320/{train,val}/<class>/
# Hardware: one GPU, or a CPU with a small network. Not run by us at this size.
# Expected: to compare, at 128 px (here it is 224): raw pixels 39.1 % at best, a small ViT of ours after 18 epochs
#           53 to 55 % with the class token and 55 to 57 % with features='class+mean', untrained 33 %.
_base_ = './knn_folder.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenette2-320/val'))
test_cfg = dict(bank_dataloader=dict(dataset=dict(data_root='data/imagenette2-320/train')))
