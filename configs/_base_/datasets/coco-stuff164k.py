# COCO-Stuff 164k, 171 classes: 118,287 images to train on, 5,000 to validate; converted as in mmsegmentation's guide.
_base_ = './seg_default.py'

__train = dict(img_path='images/train2017', seg_map_path='annotations/train2017')
__val = dict(img_path='images/val2017', seg_map_path='annotations/val2017')
__coco_stuff = dict(type='COCOStuffDataset', data_root='data/coco_stuff164k')
train_dataloader = dict(dataset=dict(dataset=dict(__coco_stuff, data_prefix=__train)))
val_dataloader = dict(dataset=dict(dataset=dict(__coco_stuff, data_prefix=__val)))
test_dataloader = val_dataloader
