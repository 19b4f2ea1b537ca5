# Does the attention of the class token draw objects? Jaccard index of its masks and those of objects of your own.
#
# Command:  python tools/test.py configs/attention/jaccard_folder.py CHECKPOINT --images IMAGES --masks MASKS
#           with an indexed PNG of the same name and size for each image: 0 background, 1, 2, 3 … objects, 255 void.
#           Clips as in DAVIS: images=DIR/JPEGImages/480p masks=DIR/Annotations/480p. White objects: labels=bright.
#           CHECKPOINT: see configs/knn/knn_folder.py. Several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS
# Hardware: any; about 2.3 seconds of one CPU core for an image of 480 x 854 px with ViT-S/14.
# Expected: jaccard_best_head takes the best head of each object, which the masks choose: DINO's protocol and an upper
#           limit. jaccard_best_fixed_head and jaccard_mean_map stand beside it; jaccard_whole_image is the mask of all
#           patches.
_base_ = '../_base_/default_runtime.py'

model = dict(
    type='dino_plugin.AttentionExtractor',
    blocks=(-1,),
    short_side=480,
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)

test_dataloader = dict(
    batch_size=1,
    num_workers=0,  # an image is a path, read by the model
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='dino_plugin.ObjectDataset', data_root='', images='data/images', masks='data/masks'),
)
test_cfg = dict(type='dino_plugin.ObjectTestLoop')
test_evaluator = dict(type='dino_plugin.AttentionJaccardMetric', threshold=0.6)
