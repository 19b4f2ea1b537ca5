# DINOv2's linear probe on class folders of your own: 13 learning rates x 1 or 4 last blocks x with or without the mean
# patch, 52 linear classifiers that learn together from augmented images.
#
# Command:  python tools/train.py configs/probes/linear-grid_vit-small-p16_1xb128-10e_custom.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_10.pth
#           with the images in data/custom/train/<class>/ and data/custom/val/<class>/; elsewhere, in DIR/train
#           and DIR/val: --images DIR for both tools. It sets the number of classes, too, else 1,000.
#           CHECKPOINT: as in configs/knn/knn_folder.py. After a stop: --resume.
# Hardware: one GPU, or a CPU with few images. The network runs once for each augmented image.
# Expected: depends on the images. A tenth of each training class is held out and chooses the classifier; the test
#           images are asked once. test_evaluator.choose_on=test chooses on them, as DINOv2's authors do: optimistic.
_base_ = './linear-grid_vit-small-p16_8xb128-10e_in1k.py'

__train, __val = 'data/custom/train', 'data/custom/val'
train_dataloader = dict(dataset=dict(dataset=dict(dataset=dict(data_root=__train))))
val_dataloader = dict(dataset=dict(dataset=dict(data_root=__train)))
test_dataloader = dict(dataset=dict(data_root=__val))
test_cfg = dict(held_out_dataloader=dict(dataset=dict(dataset=dict(data_root=__train))))
