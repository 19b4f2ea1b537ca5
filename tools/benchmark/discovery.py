"""The normalised cut of an image's patches: Lanczos' method beside the dense solver that TokenCut's authors call."""

import argparse

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from benchmark.propagation import make_video
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.evaluation.discovery.normalised_cut import WEAK, alike, second_eigenvector

THRESHOLD = 0.2
DENSE = 2000  # patches up to which the dense solver runs, too; its time grows with the third power


def run(options: argparse.Namespace, report: Report, _: Reference | None) -> None:
    """Each grid by itself, of random features that are alike in neighbouring patches."""
    for grid in options.grids:
        patch, _, sides = grid.partition('=')
        name, (rows, columns) = f'discovery_{patch}', map(int, sides.split('x'))
        edges = alike(make_video(options, rows, columns)[0][0].flatten(0, 1), THRESHOLD)
        candidates = [Candidate('discovery', lambda _, edges=edges: second_eigenvector(edges), 'ours')]
        if rows * columns <= DENSE:
            note = 'scipy.linalg.eigh, as in YangtaoWANG95/TokenCut'
            candidates.insert(0, Candidate('dense', lambda _, edges=edges: dense(edges), note))
        _check(report, name, edges)
        report.compare(name, f'Patches of {patch}: the cut of a grid of {rows} x {columns}', 'image', candidates)


def dense(edges: Tensor) -> np.ndarray:
    """The second eigenvector by the whole decomposition."""
    weights = np.where(edges.cpu().numpy(), 1.0, WEAK)
    degrees = np.diag(weights.sum(axis=1))
    return eigh(degrees - weights, degrees, subset_by_index=[1, 2])[1][:, 0]


def _check(report: Report, name: str, edges: Tensor) -> None:
    """How far the vector is from solving (D - W) v = lambda D v, against the length of D v."""
    vector = torch.from_numpy(second_eigenvector(edges))
    weights = torch.full(edges.shape, WEAK, dtype=torch.float64).masked_fill_(edges.cpu(), 1.0)
    degrees = weights.sum(dim=1)
    cut = degrees * vector - weights @ vector
    value = (vector @ cut) / (vector @ (degrees * vector))
    gap = float((cut - value * degrees * vector).norm() / (degrees * vector).norm())
    report.check(name, gap < 1e-7, f'the eigenvector solves its equation within {gap:.1e}')
