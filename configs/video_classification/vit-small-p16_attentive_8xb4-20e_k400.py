# V-JEPA 2's attentive probes on Kinetics-400: eight clips of 16 frames, three views to test.
#
# Command:  bash tools/dist_train.sh configs/video_classification/vit-small-p16_attentive_8xb4-20e_k400.py 8 \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth
#           with data/kinetics400/{train,val}/<class>/<film>.mp4; without class folders: README.md. CHECKPOINT: as in
#           configs/knn/knn_folder.py.
# Hardware: 8 GPUs. Not run by us. The authors train with 64 GPUs, four films on each.
# Expected: top-1 accuracy; not run by us.
_base_ = [
    '../_base_/datasets/clips.py',
    '../_base_/models/attentive_probe.py',
    '../_base_/schedules/attentive_probe_20e.py',
]

model = dict(num_classes=400, num_self_blocks=3, precision='bf16')
__train = dict(data_root='data/kinetics400/train', unreadable='skip')  # some films of any copy are damaged
train_dataloader = dict(batch_size=4, dataset=dict(dataset=dict(dataset=__train)))
val_dataloader = dict(dataset=dict(dataset=__train))
test_dataloader = dict(dataset=dict(data_root='data/kinetics400/val', unreadable='skip'))
test_cfg = dict(held_out_dataloader=val_dataloader)
