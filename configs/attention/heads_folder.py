# What do the heads look at, and which look at the same? Statistics of all heads of all blocks, and their clusters.
#
# Command:  python tools/test.py configs/attention/heads_folder.py CHECKPOINT --work-dir OUT \
#               --images IMAGES --masks MASKS
#           Without masks (masks=None) the statistics of figures are missing. model.blocks=[8,9] takes some blocks.
#           OUT/heads.csv has a line for each head, OUT/head_clusters.csv one for each number of clusters, and
#           OUT/head_clusters.png shows the tree. Several checkpoints of a training: tools/compare_heads.py
# Hardware: any; about 0.6 seconds of one CPU core for an image of 240 x 427 px (model.short_side=240) with ViT-S/14;
#           attended distances need time for the square of the number of patches.
# Expected: arXiv:2410.22768 finds three clusters in blocks 9 and 10 of 12 of DINO's ViT-S/16: parts of figures (20 %
#           of the heads), whole figures (60 %), background (20 %). Here silhouettes of 2 to 10 clusters test it.
_base_ = './jaccard_folder.py'

model = dict(blocks=None, attended_distances=True)
test_evaluator = dict(_delete_=True, type='dino_plugin.HeadMetric', threshold=0.6)
