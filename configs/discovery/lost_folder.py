# Where is the object? LOST finds one in each image of a folder: the patch that resembles the fewest others is its seed.
#
# Command:  python tools/test.py configs/discovery/lost_folder.py CHECKPOINT --work-dir OUT --images IMAGES
#           Boxes, masks and what is written: see token_cut_folder.py
# Hardware: any; about two seconds for an image of 854 x 480 px with ViT-S/14 on two CPU cores, nearly all of them of
#           the network.
# Expected: see token_cut_folder.py
_base_ = './token_cut_folder.py'

model = dict(method='lost', method_options=dict(_delete_=True, num_candidates=100))
