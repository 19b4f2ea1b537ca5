# Attentive probes on films of your own: DIR/{train,val}/<class>/<film>.mp4, or folders of frames as films.
#
# Command:  python tools/train.py configs/video_classification/vit-small-p16_attentive_1xb8-20e_custom.py \
#               --images DIR --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth --images DIR --show-dir films
#           CHECKPOINT: as in configs/knn/knn_folder.py. --images sets the number of classes; without it: data/clips.
# Hardware: one GPU. Not run by us with this network.
# Expected: depends on the films. A tenth of each training class is held out and chooses the probe.
_base_ = [
    '../_base_/datasets/clips.py',
    '../_base_/models/attentive_probe.py',
    '../_base_/schedules/attentive_probe_20e.py',
]

model = dict(num_classes=10)
# One fixed view of two clips of each film: the backbone runs once, its tokens are kept.
__read = dict(type='dino_plugin.ReadClips', frames=16, step=4, clips=2, short_side=256)
__fixed = [__read, dict(type='dino_plugin.CropClips', size=224), dict(type='dino_plugin.PackClips')]
train_dataloader = dict(dataset=dict(dataset=dict(dataset=dict(pipeline=__fixed))))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=__fixed)))
test_dataloader = dict(dataset=dict(pipeline=[__read, *_base_.test_dataloader.dataset.pipeline[1:]]))
test_cfg = dict(held_out_dataloader=val_dataloader)
