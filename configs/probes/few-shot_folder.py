# Few labelled images of each class: logistic regression, nearest class mean and k-NN with 1, 2, 5 and 10 of them, as
# mean and standard error over five draws.
#
# Command:  python tools/test.py configs/probes/few-shot_folder.py CHECKPOINT --images DIR
#           CHECKPOINT: as in configs/knn/knn_folder.py. Classes with fewer images: test_evaluator.shots=[1,2]
# Hardware: a CPU.
# Expected: depends on the images.
_base_ = '../knn/knn_folder.py'

test_evaluator = dict(_delete_=True, type='dino_plugin.FewShotMetric', shots=(1, 2, 5, 10), draws=5)
