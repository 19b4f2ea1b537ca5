# LeJEPA on 5,000 images of 32 px, on a CPU: the quickstart's long recipe with other losses.
#
# Command:  python tools/train.py configs/lejepa/lejepa_vit-tiny_1xb64-22e_cifar10-mini.py  (from a checkout; needs
#           `pip install lightly`)
# Hardware: one core; half of it took 5 minutes on an Intel Xeon with some other work beside.
# Expected: k-NN top-1 (k 20, class token and mean patch) 41.4 %, on an AMD EPYC 42.7 %; DINO 49.4 to 51.1 %, untrained
#           34.0 %. Measured by us, seed 0. Nothing was tuned for it: schedules and views were tuned for DINO.
_base_ = ['../quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py', '../_base_/models/lejepa.py']

model = _base_.pop('lejepa')
