# Label propagation through your own clips: frozen features carry the first mask to all frames.
#
# Command:  python tools/test.py configs/video/davis_folder.py CHECKPOINT --work-dir OUT --images DIR
#           with DIR/JPEGImages/480p/<clip>/00000.jpg … and DIR/Annotations/480p/<clip>/00000.png, an indexed PNG: 0 is
#           the background, 1, 2, 3 … are the objects. One mask, the first, is enough; with one for each frame the clip
#           is scored. CHECKPOINT: see configs/knn/knn_folder.py; model.backbone.checkpoint_source=student takes the
#           student. Several GPUs share the clips: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS
#           OUT/davis/<clip>/ gets the masks (the official evaluator reads this folder), OUT/overlays/ films and sheets,
#           OUT/*.csv the scores. Run again, it computes only what is missing.
# Hardware: any. Memory does not grow with the length of a clip, and little with its objects.
# Expected: depends on the clips. See davis2016.py for a small network on a CPU.
_base_ = '../_base_/default_runtime.py'

model = dict(  # as in DINO's evaluation, facebookresearch/dino eval_video_segmentation.py
    type='dino_plugin.ClipSegmenter',
    short_side=480,
    multiple=64,  # the longer side is rounded down to it
    smooth=True,
    precision='fp32',
    propagator=dict(
        type='dino_plugin.LabelPropagator',
        num_context=7,
        radius=12,
        neighbourhood='square',
        top_k=5,
        temperature=0.1,
    ),
    backbone=dict(type='dino_plugin.TimmBackbone'),  # the rest is in the checkpoint
)

test_dataloader = dict(
    batch_size=1,
    num_workers=0,  # a clip is a list of files, read frame by frame later
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='dino_plugin.DAVISDataset', data_root='data/clips', year=2017, split=None),
)
test_cfg = dict(type='dino_plugin.ClipTestLoop')
test_evaluator = dict(type='dino_plugin.DAVISMetric')
