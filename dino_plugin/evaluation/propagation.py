"""Labels of a video's first frame, carried through it by similar patches."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

TILE = 16  # patches: rows and columns of the target that are compared at once


def propagate_labels(
    target: Float[Tensor, 'rows columns dim'],
    context: Float[Tensor, 'frames rows columns dim'],
    labels: Float[Tensor, 'frames rows columns objects'],
    radius: int = 12,
    circular: bool = False,
    top_k: int = 5,
    temperature: float = 0.1,
) -> Float[Tensor, 'rows columns objects']:
    """Labels of a frame: for each patch the weighted mean over the most similar patches of the context.

    label(p) = sum_q w(p, q) label(q),   w(p, q) = exp(p.q / temperature) / sum_q' exp(p.q' / temperature)

    q and q' run over the `top_k` patches, of all context frames together, that are most similar to p among those near
    p's own place; patches as similar as the last of them count, too.

    Only what is near is compared, tile by tile, and of each place at first only its best frame: the same result as
    comparing everything and masking, in a fraction of its time and memory.

    Args:
        target: Patch features, L2-normalised.
        context: Likewise, of frames whose labels are known.
        labels: Share of each object in each patch of the context; the background is an object.
        radius: How far the neighbourhood reaches, in patches.
        circular: It is a disk, distance <= radius, instead of a square.
        top_k: Patches that give their label.
        temperature: Divides the cosine.

    References:
        Jabri et al. 2020, arXiv:2006.14613; Caron et al. 2021, arXiv:2104.14294, section 4.2.2, the settings of whose
        published code are the defaults.
    """
    target, context, labels = target.float(), context.float(), labels.float()
    result = torch.empty(*target.shape[:2], labels.shape[-1], device=target.device)
    tiles = [(top, left) for top in range(0, target.shape[0], TILE) for left in range(0, target.shape[1], TILE)]
    ties = []
    for corner in tiles:
        window = _compare(target, context, corner, radius, circular)
        result[window.tile], tied = _mean_of_nearest(window, labels, top_k, temperature)
        ties.append(tied)
    for corner, tied in zip(tiles, torch.stack(ties).tolist()):  # rare, but a still video has nothing else
        if tied:
            window = _compare(target, context, corner, radius, circular)
            result[window.tile] = _mean_with_ties(window, labels, top_k, temperature)
    return result


class _Window(NamedTuple):
    """One tile of the target, compared with all places that one of its patches or more may look at."""

    tile: tuple[slice, slice]
    similarities: Float[Tensor, 'queries frames places']
    far: Bool[Tensor, 'queries places']
    places: Int[Tensor, ' places']  # numbers of the patches, row by row


def _compare(
    target: Float[Tensor, 'rows columns dim'],
    context: Float[Tensor, 'frames rows columns dim'],
    corner: tuple[int, int],
    radius: int,
    circular: bool,
) -> _Window:
    tile = tuple(slice(start, start + TILE) for start in corner)
    near = tuple(slice(max(0, start - radius), start + TILE + radius) for start in corner)
    queries, sources = target[tile], context[:, near[0], near[1]]
    numbers = torch.arange(target.shape[0] * target.shape[1], device=target.device).view(target.shape[:2])
    own, other = numbers[tile].flatten()[:, None], numbers[near].flatten()
    columns = target.shape[1]
    down, across = own // columns - other // columns, own % columns - other % columns
    far = (down**2 + across**2 > radius**2) if circular else (down.abs() > radius) | (across.abs() > radius)
    similarities = queries.flatten(0, 1) @ sources.flatten(0, 2).T
    return _Window(tile, similarities.unflatten(1, (len(context), len(other))), far, other)


def _mean_of_nearest(
    window: _Window, labels: Float[Tensor, 'frames rows columns objects'], top_k: int, temperature: float
) -> tuple[Float[Tensor, 'tile_rows tile_columns objects'], Bool[Tensor, '']]:
    """Labels by exactly `top_k` patches, and whether one more is as similar as the last of them somewhere.

    The k + 1 most similar patches stand at no more than k + 1 places: those where the best of all frames is best.
    """
    frames, places = window.similarities.shape[1:]
    best_of_frames = window.similarities.amax(dim=1).masked_fill_(window.far, -torch.inf)
    best, chosen = best_of_frames.topk(min(top_k + 1, places), dim=1)
    candidates = window.similarities.gather(2, chosen[:, None].expand(-1, frames, -1))
    candidates = candidates.masked_fill_(best.isneginf()[:, None], -torch.inf).flatten(1)
    values, order = candidates.topk(min(top_k + 1, candidates.shape[1]), dim=1)
    place = window.places[chosen.gather(1, order % best.shape[1])]
    patches = order // best.shape[1] * labels[0, ..., 0].numel() + place
    weights = (values[:, :top_k] / temperature).softmax(dim=1)
    means = torch.einsum('qk,qko->qo', weights, labels.flatten(0, 2)[patches[:, :top_k]])
    next_best = values[:, top_k:]  # none in a tiny grid
    tied = ((values[:, top_k - 1 : top_k] == next_best) & ~next_best.isneginf()).any()
    return means.view(labels[0][window.tile].shape), tied


def _mean_with_ties(
    window: _Window, labels: Float[Tensor, 'frames rows columns objects'], top_k: int, temperature: float
) -> Float[Tensor, 'tile_rows tile_columns objects']:
    """Labels by all patches that are at least as similar as the k-th."""
    similarities = window.similarities.masked_fill(window.far[:, None], -torch.inf).flatten(1)
    least = similarities.topk(top_k, dim=1).values[:, -1:]
    weights = (similarities.masked_fill(similarities < least, -torch.inf) / temperature).softmax(dim=1)
    nearby = labels.flatten(1, 2)[:, window.places].flatten(0, 1)
    return (weights @ nearby).view(labels[0][window.tile].shape)


class LabelPropagator:
    """Carries the labels of a first frame through a video of any length.

    The context of a frame is the first frame, whose labels are given, and the last `num_context` frames with the labels
    found for them; nothing else is kept.

    Args:
        num_context: Frames before the present one, besides the first.
        radius: As in `propagate_labels`, like the next three.
        neighbourhood: 'square' (DINO) or 'circle' (DINOv3).
        top_k: Likewise.
        temperature: Likewise; DINO 0.1, DINOv3 0.2.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        num_context: int = 7,
        radius: int = 12,
        neighbourhood: str = 'square',
        top_k: int = 5,
        temperature: float = 0.1,
    ) -> None:
        if neighbourhood not in ('square', 'circle'):
            raise ValueError(f"LabelPropagator: neighbourhood must be 'square' or 'circle', got {neighbourhood!r}.")
        for name, value, least in (('num_context', num_context, 0), ('radius', radius, 0), ('top_k', top_k, 1)):
            if value < least:
                raise ValueError(f'LabelPropagator: {name} must be at least {least}, got {value}.')
        if temperature <= 0:
            raise ValueError(f'LabelPropagator: temperature must be positive, got {temperature}.')
        self.num_context = num_context
        self.settings = dict(
            radius=radius, circular=neighbourhood == 'circle', top_k=top_k, temperature=float(temperature)
        )

    def __call__(
        self, features: Iterable[Float[Tensor, 'rows columns dim']], labels: Float[Tensor, 'rows columns objects']
    ) -> Iterator[Float[Tensor, 'rows columns objects']]:
        """Labels of the second frame and of each that follows, as soon as its features are there.

        Args:
            features: Of all frames from the first on; they need not be normalised.
            labels: Of the first frame, as in `propagate_labels`; taken to the features' device.
        """
        for number, patches in enumerate(features):
            patches = normalize(patches.float(), dim=-1)
            if number == 0:
                known = patches.new_empty(1 + self.num_context, *patches.shape)
                known_labels = patches.new_empty(1 + self.num_context, *labels.shape)
            else:
                count = min(number, len(known))
                labels = propagate_labels(patches, known[:count], known_labels[:count], **self.settings)
                yield labels
            if number == 0 or self.num_context:  # the first frame stays, later ones replace the oldest
                place = 1 + (number - 1) % self.num_context if number else 0
                known[place], known_labels[place] = patches, labels
