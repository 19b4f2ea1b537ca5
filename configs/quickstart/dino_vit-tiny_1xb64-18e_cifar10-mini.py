# The quickstart: the recipe of 22 epochs beside it with less to compute. Global views have 24 px, which the network sees
# as nine patches instead of sixteen; there are two local views instead of four, and fewer epochs (docs/small_data.md).
#
# Command:  bash tools/quickstart.sh                                               (from the top of a checkout)
# Hardware: 2 CPU cores; 0.58 of the processor time of the longer recipe.
# Expected: not measured to the end.
_base_ = './dino_vit-tiny_1xb64-22e_cifar10-mini.py'

_base_.train_dataloader.dataset.dataset.pipeline[1].update(global_size=24, num_local=2)
_base_.custom_hooks[3].interval = 6
train_cfg = dict(max_epochs=18)  # 78 steps each
default_hooks = dict(pictures=dict(interval=6))
