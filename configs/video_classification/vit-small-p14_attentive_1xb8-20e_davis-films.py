# Which of six films of DAVIS is this? Windows of the first half of each film to learn from, of the third quarter to
# choose a probe, of the last quarter to test.
#
# Command:  python tools/train.py configs/video_classification/vit-small-p14_attentive_1xb8-20e_davis-films.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth --show-dir films
#           with the films in data/davis/JPEGImages/480p/<film>. CHECKPOINT: a ViT-S/14.
# Hardware: 2 CPU cores; 1 to 8 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: top-1 88.2, 94.1, 94.1 % with a ViT-S/14, 58.8, 94.1, 94.1 % with an untrained one (seeds 0 to 2), of 17
#           windows: too few films to tell networks apart.
_base_ = [
    '../_base_/datasets/davis_windows.py',
    '../_base_/models/attentive_probe.py',
    '../_base_/schedules/attentive_probe_20e.py',
]

model = dict(num_classes=6, learning_rates=(1e-3, 3e-4), weight_decays=(0.1,))
default_hooks = dict(logger=dict(interval=10))
