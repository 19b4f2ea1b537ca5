# Where is the object? TokenCut finds one in each image of a folder, without labels.
#
# Command:  python tools/test.py configs/discovery/token_cut_folder.py CHECKPOINT --work-dir OUT --images IMAGES
#           writes OUT/objects.png, a sheet of the first images, and OUT/boxes.csv. With boxes (VOC's folder of XML or
#           COCO's JSON) --cfg-options test_dataloader.dataset.boxes=PATH adds CorLoc; with masks --masks MASKS,
#           an indexed PNG of the same name and size for each image, adds saliency, too. White objects: labels=bright.
#           test_evaluator.refine=True lets masks follow the edges of the image (bilateral solver).
#           CHECKPOINT: see configs/knn/knn_folder.py. Several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS
# Hardware: any; about two seconds for an image of 854 x 480 px with ViT-S/14 on two CPU cores, of which the cut takes
#           0.2; refine=True adds 0.15.
# Expected: corloc_whole_image and iou_whole_image are the floor. Where without_cut is large, all patches of an image
#           are alike for this network: try model.features=values, or patches, or model.centred=True.
_base_ = '../_base_/default_runtime.py'

model = dict(
    type='dino_plugin.ObjectFinder',
    method='token_cut',
    method_options=dict(threshold=0.2),
    features='keys',  # or queries, values, patches
    block=-1,
    short_side=480,
    centred=False,
    precision='fp32',
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)

test_dataloader = dict(
    batch_size=1,
    num_workers=0,  # an image is a path, read by the model
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='dino_plugin.ObjectDataset', data_root='', images='data/images', masks=None, boxes=None),
)
test_cfg = dict(type='dino_plugin.ObjectTestLoop')
test_evaluator = dict(type='dino_plugin.DiscoveryMetric', refine=False, num_pictures=12)
