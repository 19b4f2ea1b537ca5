"""k-means of rows that no machine holds at once: each process reads its share, sums are added over processes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from mmengine.dist import barrier, is_main_process
from safetensors.torch import load_file, save_file
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks, sum_over_ranks
from dino_plugin.curation.rows import Rows
from dino_plugin.evaluation.progress import Task

SAMPLE = 64  # rows for each centre, among which the first centres are chosen
PRODUCTS = 2**25  # rows times centres at once
SAME = 1e-6  # squared distances below it, relative to the squared length, are rounding


class Assignment(NamedTuple):
    """The nearest centre of each row, and the squared distance to it."""

    cluster: Int[Tensor, ' rows']
    distance: Float[Tensor, ' rows']


def nearest_centre(rows: Float[Tensor, 'rows dim'], centres: Float[Tensor, 'centres dim']) -> Assignment:
    """argmin_c |x - c|² = argmax_c (x · c - |c|² / 2); of equally near centres the first."""
    half = centres.square().sum(1) / 2
    best = [torch.addmm(-half, some, centres.T).max(1) for some in rows.split(max(1, PRODUCTS // len(centres)))]
    scores, cluster = (torch.cat(parts) for parts in zip(*best))
    return Assignment(cluster, (rows.square().sum(1) - 2 * scores).clamp(min=0))


def spread_centres(rows: Float[Tensor, 'rows dim'], k: int, seed: int) -> Float[Tensor, 'k dim']:
    """k-means++: each further centre is a row, drawn in proportion to its squared distance to the nearest one.

    Raises:
        ValueError: If fewer than k rows differ.

    References:
        Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding".
    """
    draws = np.random.default_rng(seed).random(k)
    lengths = rows.square().sum(1)
    distance = torch.ones_like(lengths)
    chosen = []
    for draw in draws:
        total = distance.cumsum(0, dtype=torch.float64)
        if total[-1] <= 0:
            raise ValueError(
                f'{k} clusters, but only {len(chosen)} of {len(rows)} rows differ: ask for fewer clusters.'
            )
        number = int(torch.searchsorted(total, draw * total[-1], right=True).clamp(max=len(rows) - 1))
        chosen.append(number)
        to_new = (lengths + lengths[number] - 2 * rows @ rows[number]).clamp(min=0)
        to_new[to_new <= SAME * (lengths + lengths[number])] = 0
        distance = to_new if len(chosen) == 1 else torch.minimum(distance, to_new)
    return rows[chosen]


def kmeans(
    rows: Rows, k: int, iterations: int = 50, seed: int = 0, state: Path | None = None
) -> Float[Tensor, 'k dim']:
    """Centres that minimise the sum of squared distances of rows to their nearest centre (Lloyd), in float32.

    All processes call it and get the same. Sums are float64, so the number of processes hardly changes the result. A
    centre without rows stays where it is.

    Args:
        rows: Each process reads its share, once in each iteration.
        k: Number of clusters, 1 to the number of rows.
        iterations: At most; it ends earlier when no centre moves.
        seed: Of the first centres.
        state: A file that keeps the centres after each iteration; a call with the same file goes on from there.

    Raises:
        ValueError: If there are fewer rows than clusters, or as `spread_centres`.

    References:
        Lloyd 1982, "Least squares quantization in PCM".
    """
    if not 1 <= k <= len(rows):
        raise ValueError(f'{k} clusters of {len(rows)} {rows.name}: ask for 1 to {len(rows)}.')
    done, centres = 0, None
    if state is not None and state.is_file():
        found = load_file(state, device=str(rows.device))
        done, centres = int(found['done']), found['centres']
    if centres is None:
        centres = spread_centres(rows.sample(SAMPLE * k, seed), k, seed)
    with Task(f'k-means, {k} clusters, iterations', iterations, done) as task:
        for iteration in range(done, iterations):
            moved = _means(rows, centres)
            still = torch.equal(moved, centres)
            centres = moved
            if state is not None:
                _keep(state, centres, iterations if still else iteration + 1)
            task.update(iteration + 1)
            if still:
                break
    return centres


def _means(rows: Rows, centres: Float[Tensor, 'k dim']) -> Float[Tensor, 'k dim']:
    sums = torch.zeros_like(centres, dtype=torch.float64)
    counts = torch.zeros(len(centres), dtype=torch.long, device=centres.device)
    for some in rows.own():
        cluster = nearest_centre(some, centres).cluster
        sums.index_add_(0, cluster, some.double())
        counts += torch.bincount(cluster, minlength=len(centres))
    sums, counts = sum_over_ranks(sums), sum_over_ranks(counts)
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres.double()).float()


def _keep(state: Path, centres: Float[Tensor, 'k dim'], done: int) -> None:
    if is_main_process():
        save_file(dict(centres=centres.cpu(), done=torch.tensor(done)), state.with_suffix('.unfinished'))
        state.with_suffix('.unfinished').replace(state)
    barrier()


def assign(rows: Rows, centres: Float[Tensor, 'k dim']) -> Assignment:
    """The nearest centre of all rows, on the CPU, in each process."""
    parts = [nearest_centre(some, centres) for some in rows.own()]
    empty = Assignment(torch.zeros(0, dtype=torch.long), torch.zeros(0))
    own = Assignment(*(torch.cat(part) for part in zip(*parts))) if parts else empty
    return Assignment(*(gather_over_ranks(part.to(centres.device)).cpu() for part in own))
