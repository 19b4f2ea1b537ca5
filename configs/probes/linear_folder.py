# Linear probe of frozen features on class folders of your own: minutes on a CPU, seconds if k-NN kept the features.
# DIR/train/<class>/<images> and DIR/val/<class>/<images>.
#
# Command:  python tools/test.py configs/probes/linear_folder.py CHECKPOINT --images DIR
#           CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: any; a GPU for more than some thousands of images.
# Expected: depends on the images. The learning rate is chosen on a held-out tenth of train, never on val. Images
#           are not augmented; for that see configs/classification/README.md.
_base_ = '../knn/knn_folder.py'

model = dict(features='class+mean')
test_evaluator = dict(_delete_=True, type='dino_plugin.LinearProbeMetric', epochs=10)
