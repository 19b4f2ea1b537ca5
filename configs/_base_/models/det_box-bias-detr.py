# The same, and its decoder's attention to the image knows where each cell lies, seen from the box of the query.
_base_ = './det_dab-detr.py'

model = dict(model='dino_plugin.BoxBiasDETR', decoder=dict(box_bias=dict(hidden=512, scale='linear')))
