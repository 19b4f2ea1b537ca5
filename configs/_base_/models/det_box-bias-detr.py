# The same, and its decoder's attention to the image knows where each cell lies, seen from the box of the query. Queries
# begin at proposals of the encoder; 1500 extra ones are trained, too, each box with six of them, and left out of tests.
_base_ = './det_dab-detr.py'

model = dict(
    model='dino_plugin.BoxBiasDETR',
    proposals=True,
    extra_queries=1500,
    repeats=6,
    decoder=dict(box_bias=dict(hidden=512, scale='linear')),
)
