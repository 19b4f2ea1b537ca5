# Logistic regression of frozen features on class folders of your own, by scikit-learn.
#
# Command:  python tools/test.py configs/probes/logistic_folder.py CHECKPOINT --images DIR
#           CHECKPOINT: as in configs/knn/knn_folder.py.
# Hardware: a CPU; minutes for some ten thousand images.
# Expected: depends on the images. C is chosen on a held-out tenth of train, then the classifier is fitted to all of it.
_base_ = '../knn/knn_folder.py'

test_evaluator = dict(_delete_=True, type='dino_plugin.LogisticProbeMetric')
