# Label propagation on DAVIS-2017 val as in DINOv3's notebook: larger images, a round neighbourhood, a higher
# temperature.
#
# Command:  python tools/test.py configs/video/davis2017_dinov3.py CHECKPOINT
#           after unpacking DAVIS-2017-trainval-480p.zip (davischallenge.org) to data/DAVIS; see davis_folder.py.
# Hardware: one GPU. Not run by us.
# Expected: J&F of DINOv3's model card: ViT-S/16 72.7, ViT-S+/16 75.5, ViT-B/16 77.2, ViT-L/16 79.9, ViT-H+/16 79.3,
#           ViT-7B/16 79.7. These networks come under Meta's own licence, by request.
#           What differs from the notebook: images are enlarged bilinearly, and sides are rounded down, not up, to a
#           multiple of 16.
_base_ = './davis2017.py'

model = dict(
    short_side=960,
    multiple=16,
    smooth=False,
    propagator=dict(neighbourhood='circle', temperature=0.2),
)
