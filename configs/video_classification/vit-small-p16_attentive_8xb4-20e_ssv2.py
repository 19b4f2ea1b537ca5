# V-JEPA 2's attentive probes on Something-Something v2: two clips of 16 frames, no mirror images, since left and right
# are part of the labels.
#
# Command:  bash tools/dist_train.sh configs/video_classification/vit-small-p16_attentive_8xb4-20e_ssv2.py 8 \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           with data/ssv2/20bn-something-something-v2/<id>.webm and data/ssv2/labels/{labels,train,validation}.json,
#           as published. CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: 8 GPUs. Not run by us.
# Expected: top-1 accuracy; not run by us.
_base_ = './vit-small-p16_attentive_8xb4-20e_k400.py'

model = dict(num_classes=174)
__films = dict(data_root='data/ssv2', classes='labels/labels.json')
__train, __val = (dict(__films, ann_file=f'labels/{part}.json') for part in ('train', 'validation'))
__learnt = _base_.train_dataloader.dataset.dataset.dataset.pipeline
__chosen = _base_.val_dataloader.dataset.dataset.pipeline
__tested = _base_.test_dataloader.dataset.pipeline
__learnt[0].clips = __chosen[0].clips = __tested[0].clips = 2
__learnt[1].flip_probability = 0.0
train_dataloader = dict(dataset=dict(dataset=dict(dataset=__train)))
val_dataloader = dict(dataset=dict(dataset=dict(__train, pipeline=__chosen)))
test_dataloader = dict(dataset=__val)
test_cfg = dict(held_out_dataloader=val_dataloader)
