# Where are the objects? MaskCut finds up to three in each image of a folder, without labels.
#
# Command:  python tools/test.py configs/discovery/mask_cut_folder.py CHECKPOINT --work-dir OUT --images IMAGES
#           Boxes, masks and what is written: see token_cut_folder.py
# Hardware: any; about two seconds for an image of 640 x 480 px with ViT-S/14 on two CPU cores, of which the cuts take
#           0.3.
# Expected: see token_cut_folder.py; box_recall and box_precision count all objects. The authors resize images to
#           480 x 480 pixels and refine masks by a conditional random field; here images keep their proportions, and
#           test_evaluator.refine=True refines by the bilateral solver.
_base_ = './token_cut_folder.py'

model = dict(method='mask_cut', method_options=dict(threshold=0.15, num_objects=3))
