# k-NN on the bundled images, 32 px: a bank of 5,000 labelled images of CIFAR-10, 1,000 queries.
#
# Command:  python tools/test.py configs/knn/knn_cifar10-mini.py CHECKPOINT          (from the top of the checkout)
# Hardware: a CPU; seconds with the quickstart's network.
# Expected: top1_k20 of raw pixels at best 39.1 % (measured: 16 px, each image less its own mean); a small untrained ViT
#           about 28 %; chance 10 %.
_base_ = './knn_folder.py'

__pipeline = [dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')]
test_dataloader = dict(num_workers=2, dataset=dict(data_root='tests/data/cifar10_mini/test', pipeline=__pipeline))
test_cfg = dict(
    bank_dataloader=dict(num_workers=2, dataset=dict(data_root='tests/data/cifar10_mini/train', pipeline=__pipeline))
)
