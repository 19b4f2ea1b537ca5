# A linear probe on your own classes: a folder of images for each.
#
# Command:  python tools/train.py configs/classification/vit-small-p16_linear_1xb128-100e_custom.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_100.pth
#           with the images in data/custom/train/<class>/ and data/custom/val/<class>/;
#           elsewhere, in DIR/train and DIR/val: --images DIR for both tools, which counts the classes, too.
#           What CHECKPOINT may be: configs/classification/README.md.
# Hardware: one GPU; with few images or a small network a CPU will do.
# Expected: not run by us; it depends on the images.
_base_ = './vit-small-p16_linear_8xb128-100e_in1k.py'

__images = dict(_delete_=True, type='CustomDataset', data_root='data/custom')
train_dataloader = dict(dataset=dict(__images, data_prefix='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(__images, data_prefix='val', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

# The number of folders, or more: what is never seen costs a few numbers in the last layer. Fewer is an error.
model = dict(data_preprocessor=dict(num_classes=1000), head=dict(num_classes=1000))
