"""The views of a batch: their order, whether they differ, and whether masks and positions fit the patches."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Bool
from torch import Tensor, nn

from dino_plugin.core.views import ViewBatch
from dino_plugin.doctor.findings import Finding

ALIKE = 0.02  # mean difference of two views, as a share of their deviation, below which they are one picture


def judge_order(indices: Sequence[int]) -> list[Finding]:
    """The images of the first batch by their place in the data set."""
    if len(indices) > 3 and all(after - before == 1 for before, after in pairwise(indices)):
        found = 'the first batch holds the files one after the other: often one class, one film'
        return [Finding('warning', 'order of images', found, 'train_dataloader.sampler.shuffle=True')]
    return [Finding('ok', 'order of images', 'mixed')]


def judge_views(views: ViewBatch) -> list[Finding]:
    """Two views of an image should differ; images should differ, too."""
    if len(views.global_views) < 2:
        return []
    first, second = views.global_views[:2].float()
    apart = float((first - second).abs().mean() / first.std().clamp_min(1e-6))
    if apart < ALIKE:
        found = f'the two global views of an image differ by {apart:.1%} of their deviation: there is nothing to learn'
        return [Finding('warning', 'augmentation', found, 'global_scale=(0.25, 1.0) and photometric in MultiCrop')]
    return [Finding('ok', 'augmentation', f'two global views of an image differ by {apart:.0%} of their deviation')]


def judge_grid(backbone: nn.Module, views: ViewBatch) -> list[Finding]:
    """Patches, masks and learnt positions.

    Args:
        backbone: With `patch_size`; without it nothing is said.
        views: Of a batch, with masks if losses have them.
    """
    patch = getattr(backbone, 'patch_size', None)
    if patch is None:
        return []
    size = views.global_views.shape[-2:]
    grid = tuple(pixels // length for pixels, length in zip(size, patch))
    said = f'{grid[0]} x {grid[1]} patches of {patch[0]} x {patch[1]} pixels'
    cut = [pixels % length for pixels, length in zip(size, patch)]
    findings = [Finding('ok', 'patches', said)]
    if any(cut):
        found = f'views of {size[0]} x {size[1]} pixels are no multiple of patches of {patch[0]} x {patch[1]}'
        findings = [Finding('warning', 'patches', found, 'global_size and local_size as multiples of the patch')]
    if views.masks is not None:
        findings.append(_masks(views.masks, grid, patch[0]))
    own = getattr(getattr(getattr(backbone, 'model', None), 'patch_embed', None), 'grid_size', grid)
    learnt = getattr(getattr(backbone, 'model', None), 'pos_embed', None) is not None
    if learnt and tuple(own) != grid:
        found = f'learnt for {own[0]} x {own[1]} patches and resampled to {grid[0]} x {grid[1]}'
        findings.append(Finding('ok', 'positions', found))
    return findings


def _masks(masks: Bool[Tensor, 'views batch rows columns'], grid: tuple[int, ...], patch: int) -> Finding:
    remedy = f"collate_fn=dict(type='dino_plugin.masked_collate', patch_size={patch})"
    if tuple(masks.shape[-2:]) != grid:
        return Finding('fault', 'masks', f'of {tuple(masks.shape[-2:])} patches, and a view has {grid}', remedy)
    shares = masks.float().mean((-2, -1))
    if not shares.any():
        return Finding('fault', 'masks', 'no patch is masked', remedy)
    in_views = float((shares > 0).float().mean())
    return Finding('ok', 'masks', f'{float(shares.mean()):.0%} of the patches, in {in_views:.0%} of the views')
