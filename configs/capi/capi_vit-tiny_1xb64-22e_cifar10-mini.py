# CAPI's clusters on the quickstart's 5,000 images, enlarged to 64 px, on a CPU: the student sees a block of 23 of 64
# patches and predicts the clusters of the rest. Behind a convolutional stem it sees the edges of their neighbours, too.
#
# Command:  python tools/train.py configs/capi/capi_vit-tiny_1xb64-22e_cifar10-mini.py     (from the top of a checkout)
# Hardware: 2 CPU cores.
# Expected: not run by us; some steps of it are a test.
_base_ = ['../quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py', '../_base_/models/cluster_prediction.py']

model = dict(backbone=dict(drop_masked=True, img_size=64), **_base_.pop('cluster_prediction'))
model['heads'].clusters.prototypes = model['heads'].predictor.prototypes = 512
model['heads'].predictor.update(dim=128, depth=1, num_heads=4)
train_dataloader = dict(collate_fn=dict(_base_.pop('mostly_hidden'), patch_size=8))
_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_size=64, global_scale=(0.6, 1.0), num_local=0)
