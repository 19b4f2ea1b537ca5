# TokenCut as a detector of salient objects, with and without the bilateral solver: ECSSD, DUTS, DUT-OMRON.
#
# Command:  python tools/test.py configs/discovery/token_cut_saliency.py CHECKPOINT
#           with DUTS-TE in data/DUTS-TE; the others by test_dataloader.dataset.images=… and masks=…
# Hardware: one GPU, or a CPU in some hours. Not run by us on these sets.
# Expected: as published for ViT-S/16 (YangtaoWANG95/TokenCut), max_f / iou / accuracy, and refined_ in brackets:
#           ECSSD 80.3 / 71.2 / 91.8 (87.4 / 77.2 / 93.4), DUTS 67.2 / 57.6 / 90.3 (75.5 / 62.4 / 91.4), DUT-OMRON
#           60.0 / 53.3 / 88.0 (69.7 / 61.8 / 89.7). Of grey pixels the authors count those from 1 of 255 on as object,
#           here those above 127.
_base_ = './token_cut_folder.py'

model = dict(short_side=None)
test_dataloader = dict(
    dataset=dict(data_root='data/DUTS-TE', images='DUTS-TE-Image', masks='DUTS-TE-Mask', labels='bright')
)
test_evaluator = dict(refine=True)
