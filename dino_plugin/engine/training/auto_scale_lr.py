"""The rule by which learning rates follow the batch size."""

import math

from mmengine.dist import get_world_size
from mmengine.logging import print_log


def as_linear_rule(auto_scale_lr: dict | None, batch_size: int | None) -> dict | None:
    """mmengine's ``auto_scale_lr`` with a base that makes its linear rule compute the ``rule`` in the config.

    linear: factor = real / base        sqrt: factor = sqrt(real / base)

    mmengine knows only the linear rule: it multiplies each learning rate by real / base_batch_size, after the loop is
    built and before the schedulers. With base_batch_size = sqrt(base * real) this factor is the square root. As in
    mmengine, ``real`` is the number of images of one forward pass on all processes, without gradient accumulation
    (``accumulative_counts``).

    Args:
        auto_scale_lr: ``dict(enable=..., base_batch_size=..., rule='linear' or 'sqrt')``; the default is linear.
        batch_size: Images in a batch of one process.

    Raises:
        ValueError: If the rule is unknown.

    References:
        Linear: Goyal et al. 2017, arXiv:1706.02677. Square root: DINOv2's code, lr * sqrt(batch / 1024).
    """
    if auto_scale_lr is None:
        return None
    linear = dict(auto_scale_lr)
    rule = linear.pop('rule', 'linear')
    if rule not in ('linear', 'sqrt'):
        raise ValueError(f"auto_scale_lr: rule={rule!r} is unknown; use 'linear' or 'sqrt'.")
    if rule == 'sqrt' and linear.get('enable') and 'base_batch_size' in linear:
        base, real = linear['base_batch_size'], batch_size * get_world_size()
        linear['base_batch_size'] = math.sqrt(base * real)
        what = f'Learning rates are scaled by sqrt({real} / {base})'
        print_log(f'{what}; mmengine logs this as a base of {linear["base_batch_size"]:.1f}.', logger='current')
    return linear
