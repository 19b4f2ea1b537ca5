# Does this film run forward or backward? Only a probe that knows the order of the frames can tell; chance is 50 %.
# Four films of DAVIS to learn from (the first half) and to choose a probe (the third quarter), two others to test.
#
# Command:  python tools/train.py configs/video_classification/vit-small-p14_attentive_1xb8-20e_davis-direction.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth --show-dir films
#           with the films in data/davis/JPEGImages/480p/<film>. CHECKPOINT: a ViT-S/14. On the last quarter of the four
#           films instead: test_dataloader.dataset.films="[blackswan,breakdance,car-shadow,dog]"
#           test_dataloader.dataset.part="[0.75,1.0]". Without order: model.time=none.
# Hardware: 2 CPU cores; 1 to 4 minutes on one thread of an Intel Xeon, with much other work beside.
# Expected: chance. 50.0 and 48.6 % with a ViT-S/14 (seeds 0, 1), 50.0 % without positions: the probe does not learn it
#           from four films; see docs/evaluators/video_classification.md.
_base_ = './vit-small-p14_attentive_1xb8-20e_davis-films.py'

__known = dict(type='dino_plugin.DirectionOfTime', films=['blackswan', 'breakdance', 'car-shadow', 'dog'])
__other = dict(type='dino_plugin.DirectionOfTime', films=['libby', 'motocross-jump'], part=(0.0, 1.0))
model = dict(num_classes=2)
train_dataloader = dict(dataset=dict(dataset=__known))
val_dataloader = dict(dataset=__known)
test_dataloader = dict(dataset=__other)
test_cfg = dict(held_out_dataloader=dict(dataset=__known))
