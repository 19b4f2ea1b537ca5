# Attentive probes on UCF101, its first split, by its own lists.
#
# Command:  python tools/train.py configs/video_classification/vit-small-p16_attentive_1xb8-20e_ucf101.py \
#               --init CHECKPOINT
#           python tools/test.py CONFIG WORK_DIR/epoch_20.pth --show-dir films
#           with data/ucf101/<class>/<film>.avi and trainlist01.txt, testlist01.txt, classInd.txt beside the classes.
#           CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: one GPU. Not run by us.
# Expected: top-1 accuracy; not run by us. Films of a group (g01 to g25) were cut from one source: whole groups are
#           held out to choose a probe.
_base_ = './vit-small-p16_attentive_1xb8-20e_custom.py'

model = dict(num_classes=101)
__films = dict(data_root='data/ucf101', classes='classInd.txt', first_label=1)
__train, __test = (dict(__films, ann_file=f'{part}list01.txt') for part in ('train', 'test'))
train_dataloader = dict(dataset=dict(dataset=dict(dataset=__train, group='_g[0-9]+_')))
val_dataloader = dict(dataset=dict(dataset=__train, group='_g[0-9]+_'))
test_dataloader = dict(dataset=__test)
test_cfg = dict(held_out_dataloader=val_dataloader)
