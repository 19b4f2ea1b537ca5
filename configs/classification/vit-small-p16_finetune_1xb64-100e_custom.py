# Fine-tuning on your own classes, a folder of images for each: everything learns, layers near the image more slowly.
#
# Command:  python tools/train.py configs/classification/vit-small-p16_finetune_1xb64-100e_custom.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_100.pth
#           with the images in data/custom/train/<class>/ and data/custom/val/<class>/;
#           elsewhere, in DIR/train and DIR/val: --images DIR for both tools. It sets the number of classes, too, which
#           is 1,000 without it: label smoothing spreads over all of them.
#           What CHECKPOINT may be: configs/classification/README.md.
# Hardware: one GPU.
# Expected: it depends on the images. Runs here on a CPU are too short to tell. With some thousands of images or fewer
#           try a linear probe first (configs/probes), and learning rates around the one below.
_base_ = './vit-small-p16_finetune_8xb128-200e_in1k.py'

__images = dict(_delete_=True, type='CustomDataset', data_root='data/custom')
train_dataloader = dict(batch_size=64, dataset=dict(__images, data_prefix='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(__images, data_prefix='val', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

model = dict(data_preprocessor=dict(num_classes=1000), head=dict(num_classes=1000))
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))  # 4e-3 for 1,024 images a step, in proportion
_base_.param_scheduler[0].end = 5
_base_.param_scheduler[1].update(begin=5, end=100)
train_cfg = dict(max_epochs=100)
