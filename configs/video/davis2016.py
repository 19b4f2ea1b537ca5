# Label propagation on DAVIS-2016 val: 20 clips, the objects of each merged to one, 480p.
#
# Command:  python tools/test.py configs/video/davis2016.py CHECKPOINT
#           with DAVIS-2016 or DAVIS-2017 in data/DAVIS; a folder without ImageSets is read whole. On the bundled clips
#           (three of this set, every sixth frame): --images tests/data/davis
# Hardware: one GPU, or a CPU with a small network and few clips. Not run by us on the whole set.
# Expected: no published figure for DINO is known to us. Measured by us on the bundled clips with the network of
#           configs/quickstart on a CPU, J&F: with model.short_side=240 model.multiple=16 (some seconds) trained 66.2,
#           untrained 58.8, 60.3 and 60.4 (three seeds); as here (about a minute) trained 66.8, untrained 68.1: at this
#           size colours tell more than what the network learnt at 32 px. The first mask for every frame: 34.3.
_base_ = './davis_folder.py'

test_dataloader = dict(dataset=dict(data_root='data/DAVIS', year=2016, split='val'))
