"""Label propagation: the labels of a video's first frame, carried on by similar patches."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import normalize

TILE = 16  # rows and columns, in patches, of the part of a frame that is compared at once


def propagate_labels(
    target: Float[Tensor, 'rows columns dim'],
    context: Float[Tensor, 'frames rows columns dim'],
    labels: Float[Tensor, 'frames rows columns objects'],
    radius: int = 12,
    circular: bool = False,
    top_k: int = 5,
    temperature: float = 0.1,
) -> Float[Tensor, 'rows columns objects']:
    """Labels of a frame: for each patch the weighted mean label of the most similar patches of the context.

    label(p) = sum_q w(p, q) label(q),   w(p, q) = exp(p.q / temperature) / sum_q' exp(p.q' / temperature)

    q and q' are the `top_k` patches that are most similar to p, from all context frames together and from the
    neighbourhood of p. Patches as similar as the last of them count, too.

    Only the neighbourhoods are compared, tile by tile, and of each place first the best frame. The result is the same
    as with all pairs and a mask, in a fraction of the time and memory.

    Args:
        target: Patch features of the frame, L2-normalised.
        context: Patch features, L2-normalised, of frames whose labels are known.
        labels: Share of each object in each patch of the context; the background is an object, too.
        radius: Radius of the neighbourhood, in patches.
        circular: The neighbourhood is a disk, distance <= radius, instead of a square.
        top_k: Number of patches that give their labels.
        temperature: Divisor of the cosine.

    References:
        Jabri et al. 2020, arXiv:2006.14613; Caron et al. 2021, arXiv:2104.14294, section 4.2.2, the settings of whose
        published code are the defaults.
    """
    target, context, labels = target.float(), context.float(), labels.float()
    queries, shares = target.flatten(0, 1), labels.flatten(0, 2)
    result = queries.new_empty(len(queries), labels.shape[-1])
    rows, columns = target.shape[:2]
    areas, unclear = _areas(rows, columns, radius, circular, target.device), []
    for area in areas:
        similarities, patches = _nearest(queries[area.own], context, area, top_k + 1)
        weights = (similarities[:, :top_k] / temperature).softmax(dim=1)
        result[area.own] = torch.einsum('qk,qko->qo', weights, shares[patches[:, :top_k]])
        next_best = similarities[:, top_k:]  # none in a tiny grid
        tied = (similarities[:, top_k - 1 : top_k] == next_best) & ~next_best.isneginf()
        unclear.append(tied.any(dim=1))
    some = torch.stack([these.any() for these in unclear]).tolist()
    for area in [area.only(these) for area, these, any_is in zip(areas, unclear, some) if any_is]:
        # Ties are rare, but a video without motion is full of them.
        means = _mean_with_ties(queries[area.own], area.of(context), area.of(labels), area, top_k, temperature)
        result[area.own] = means
    return result.view(labels.shape[1:])


class _Area(NamedTuple):
    """One tile of the target, and the places in the neighbourhood of at least one of its patches."""

    own: Int[Tensor, ' queries']  # numbers of the tile's patches, row by row
    near: tuple[slice, slice]
    places: Int[Tensor, ' places']
    far: Bool[Tensor, 'queries places']
    num_patches: int  # of a whole frame

    def of(self, frames: Shaped[Tensor, 'frames rows columns dim']) -> Shaped[Tensor, 'nearby dim']:
        """The vectors at these places, of all frames one after the other."""
        return frames[:, self.near[0], self.near[1]].flatten(0, 2)

    def only(self, chosen: Bool[Tensor, ' queries']) -> '_Area':
        """The area for some of its patches."""
        return self._replace(own=self.own[chosen], far=self.far[chosen])


def _areas(rows: int, columns: int, radius: int, circular: bool, device: torch.device) -> list[_Area]:
    numbers = torch.arange(rows * columns, device=device).view(rows, columns)
    row, column = torch.arange(rows, device=device), torch.arange(columns, device=device)
    areas = []
    for top, left in itertools.product(range(0, rows, TILE), range(0, columns, TILE)):
        own = slice(top, top + TILE), slice(left, left + TILE)
        near = tuple(slice(max(0, start - radius), start + TILE + radius) for start in (top, left))
        down = (row[own[0]][:, None] - row[near[0]]).abs()[:, None, :, None]
        across = (column[own[1]][:, None] - column[near[1]]).abs()[:, None]
        far = (down**2 + across**2 > radius**2) if circular else (down > radius) | (across > radius)
        far = far.flatten(2).flatten(0, 1)
        areas.append(_Area(numbers[own].flatten(), near, numbers[near].flatten(), far, numbers.numel()))
    return areas


def _candidates(
    queries: Shaped[Tensor, 'queries dim'], sources: Shaped[Tensor, 'nearby dim'], area: _Area, number: int
) -> tuple[Float[Tensor, 'queries frames best'], Int[Tensor, 'queries frames best']]:
    """Similarities of the patches of all frames at the best places, and the numbers of these patches.

    The `number` most similar patches are at no more than `number` places: those with the largest maxima over frames.
    """
    similarities = _products(queries, sources).unflatten(1, (-1, len(area.places)))
    best, chosen = (
        similarities.amax(dim=1).masked_fill_(area.far, -torch.inf).topk(min(number, len(area.places)), dim=1)
    )
    chosen, too_far = chosen[:, None], best.isneginf()[:, None]
    found = similarities.gather(2, chosen.expand(-1, similarities.shape[1], -1))
    first_patches = area.num_patches * torch.arange(similarities.shape[1], device=queries.device)
    return found.masked_fill_(too_far, -torch.inf), first_patches[:, None] + area.places[chosen]


def _nearest(
    queries: Float[Tensor, 'queries dim'], context: Float[Tensor, 'frames rows columns dim'], area: _Area, number: int
) -> tuple[Float[Tensor, 'queries found'], Int[Tensor, 'queries found']]:
    """The similarities and numbers of the most similar patches, best first."""
    similarities, patches = _candidates(queries, area.of(context), area, number)
    similarities, order = similarities.flatten(1).topk(min(number, similarities[0].numel()), dim=1)
    return similarities, patches.flatten(1).gather(1, order)


def _products(
    queries: Float[Tensor, 'queries dim'], samples: Float[Tensor, 'samples dim']
) -> Float[Tensor, 'queries samples']:
    """Inner products of all pairs."""
    if len(queries) == 1:  # a product with a vector may round equal rows differently, which would hide ties
        return (queries.expand(2, -1) @ samples.T)[:1]
    return queries @ samples.T


def _mean_with_ties(
    queries: Float[Tensor, 'queries dim'],
    sources: Float[Tensor, 'nearby dim'],
    labels: Float[Tensor, 'nearby objects'],
    area: _Area,
    top_k: int,
    temperature: float,
) -> Float[Tensor, 'queries objects']:
    """Labels from all patches that are at least as similar as the k-th."""
    similarities = _products(queries, sources).unflatten(1, (-1, len(area.places)))
    similarities = similarities.masked_fill(area.far[:, None], -torch.inf).flatten(1)
    least = similarities.topk(top_k, dim=1).values[:, -1:]
    return (similarities.masked_fill(similarities < least, -torch.inf) / temperature).softmax(dim=1) @ labels


class LabelPropagator:
    """Label propagation from the first frame through a video of any length.

    The context of a frame is the first frame with its given labels, and the last `num_context` frames with the labels
    found for them. Nothing else is kept.

    Args:
        num_context: Number of frames before the present one, besides the first.
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
        """Yield the labels of each frame from the second on, as soon as its features are there.

        Args:
            features: Patch features of all frames, the first included; they need not be normalised.
            labels: Labels of the first frame, as in `propagate_labels`; moved to the features' device.
        """
        for number, patches in enumerate(features):
            patches = normalize(patches.float(), dim=-1)
            if number == 0:
                known = patches.new_empty(1 + self.num_context, *patches.shape)
                known_labels = patches.new_empty(1 + self.num_context, *labels.shape)
            else:
                context = slice(min(number, len(known)))
                labels = propagate_labels(patches, known[context], known_labels[context], **self.settings)
                yield labels
            if number == 0 or self.num_context:  # the first frame stays, later ones replace the oldest
                place = 1 + (number - 1) % self.num_context if number else 0
                known[place], known_labels[place] = patches, labels
