# COCO 2017 in data/coco.
_base_ = './boxes_default.py'

__coco = dict(data_root='data/coco', class_file='annotations/instances_train2017.json')
train_dataloader = dict(
    dataset=dict(__coco, ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017'))
)
val_dataloader = dict(
    dataset=dict(__coco, ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017'))
)
test_dataloader = val_dataloader
