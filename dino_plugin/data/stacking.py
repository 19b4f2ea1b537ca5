"""The views of several samples -> one ViewBatch, and the checks that this takes."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.core.views import ViewBatch


def stack_blocks(samples: Sequence[tuple[Tensor, Tensor | None]]) -> ViewBatch:
    """Stack samples ``(global block, local block or None)``, uint8 ``views rows columns 3``.

    Each block is copied once, in a worker into shared memory; views and batch then change places by stride.

    Raises:
        ValueError: If there is no sample, there are fewer than two views, or views that belong together differ in
            number or size.
    """
    if not samples:
        raise ValueError('an empty batch: there is no sample whose views could be stacked')
    global_blocks = [sample[0] for sample in samples]
    local_blocks = [sample[1] for sample in samples]
    num_without = sum(block is None for block in local_blocks)
    if 0 < num_without < len(samples):
        raise ValueError(f'{num_without} of {len(samples)} samples have no local views: all or none must have them')
    has_local = num_without == 0
    require_several_views(len(global_blocks[0]) + (len(local_blocks[0]) if has_local else 0))
    require_one_shape(global_blocks, 'global')
    if not has_local:
        return ViewBatch(default_collate(global_blocks).transpose(0, 1), None)
    require_one_shape(local_blocks, 'local')
    return ViewBatch(default_collate(global_blocks).transpose(0, 1), default_collate(local_blocks).transpose(0, 1))


def stack_view_lists(samples: list[Sequence[Tensor]], num_global: int) -> ViewBatch:
    """Stack lists of float views ``channels rows columns``, of which the first ``num_global`` are global ones.

    Raises:
        ValueError: If there are fewer than two views, ``num_global`` is not among 1 to their number, or views that
            belong together differ in number or size.
    """
    num_views = {len(views) for views in samples}
    if len(num_views) > 1:
        raise ValueError(f'samples with {sorted(num_views)} views in one batch: every sample needs the same number')
    (num_views,) = num_views
    require_several_views(num_views)
    require_global_views(num_global, num_views)
    global_views = _stack(samples, range(num_global), 'global')
    if num_global == num_views:
        return ViewBatch(global_views, None)
    return ViewBatch(global_views, _stack(samples, range(num_global, num_views), 'local'))


def _stack(
    samples: list[Sequence[Tensor]], views: range, kind: str
) -> Float[Tensor, 'views batch channels rows columns']:
    ordered = [sample[view] for view in views for sample in samples]
    require_one_shape(ordered, kind)
    return default_collate(ordered).unflatten(0, (len(views), len(samples)))


def require_several_views(num_views: int) -> None:
    """Raise a ValueError if a sample has a single view."""
    if num_views < 2:
        raise ValueError(
            f'{num_views} view in a sample: self-distillation compares at least two views of an image. '
            'Use a multi-view transform such as dino_plugin.MultiCrop or lightly.transforms.DINOTransform.'
        )


def require_global_views(num_global: int, num_views: int) -> None:
    """Raise a ValueError unless so many of these views can be global ones."""
    if not 1 <= num_global <= num_views:
        raise ValueError(f'num_global={num_global} of {num_views} views: expected 1 to {num_views}')


def require_one_shape(tensors: Sequence[Tensor], kind: str) -> None:
    """Raise a ValueError if views of one kind, ``'global'`` or ``'local'``, differ in shape."""
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f'{kind} views of different shapes {sorted(shapes)} in one batch: give all {kind} views the same size, '
            'or set num_global in collate_fn to the number of global views, which come first'
        )
