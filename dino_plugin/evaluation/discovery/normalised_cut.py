"""Normalised cut of a graph of patches: the second smallest generalised eigenvector."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.functional import normalize

WEAK = 1e-5  # weight between patches that are not alike
FEW = 256  # patches, up to which a dense solver is faster


def alike(features: Float[Tensor, 'patches dim'], threshold: float) -> Bool[Tensor, 'patches patches']:
    """Which patches have a cosine above the threshold; a feature of zeros is like none, not even itself.

    Args:
        features: Of any length.
        threshold: In [0, 1).

    Raises:
        ValueError: If the threshold is outside its range.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f'The threshold of cosines lies in [0, 1), got {threshold}.')
    features = normalize(features.double(), dim=-1)  # so that a cosine at the threshold does not depend on the device
    return features @ features.T > threshold


def second_eigenvector(edges: Bool[Tensor, 'patches patches']) -> Float[np.ndarray, ' patches'] | None:
    """The eigenvector v of (D - W) v = lambda D v with the second smallest lambda; its largest component is positive.

    W_ij = 1 for an edge, else 1e-5;  D = diag(sum_j W_ij)

    With u = D^(1/2) v this is the second largest eigenvector of D^(-1/2) W D^(-1/2), whose largest one is known,
    D^(1/2) 1. It is taken out, and Lanczos' method finds the next, which needs some products with the matrix instead of
    a whole decomposition: exact to 1e-10, on the device of `edges`, in float64.

    Args:
        edges: Symmetric.

    Returns:
        The vector, one of several where cuts are equally good; None if all cuts are: all patches are alike, or none.

    References:
        Shi and Malik 2000, Normalized Cuts and Image Segmentation.
    """
    number = len(edges)
    others = int(edges.sum()) - int(edges.diagonal().sum())
    if others in (0, number * (number - 1)) and bool((edges.diagonal() == edges[0, 0]).all()):
        return None
    matrix = torch.full(edges.shape, WEAK, dtype=torch.float64, device=edges.device).masked_fill_(edges, 1.0)
    root = matrix.sum(dim=1).sqrt()
    matrix.div_(root).div_(root[:, None])
    known = root / root.norm()
    if number <= FEW:
        matrix.addr_(known, known, alpha=-1)
        vector = eigh(matrix.cpu().numpy(), subset_by_index=[number - 1, number - 1])[1][:, 0]
    else:
        vector = _largest(matrix, known)
    vector = vector / root.cpu().numpy()
    return vector * np.sign(vector[peak(np.abs(vector))])


def peak(values: Float[np.ndarray, ' patches']) -> int:
    """The place of the largest value; the first one of patches with the same edges, which differ by rounding only."""
    return int((values >= values.max() - 1e-8 * np.abs(values).max()).argmax())


def _largest(matrix: Float[Tensor, 'n n'], known: Float[Tensor, ' n']) -> Float[np.ndarray, ' n']:
    """The largest eigenvector of a symmetric matrix, of eigenvalues in [-1, 1], without the known one, of value 1."""

    def product(vector: Float[np.ndarray, '...']) -> Float[np.ndarray, ' n']:
        x = torch.from_numpy(vector.ravel()).to(matrix.device)
        return (matrix @ x - known * (known @ x)).cpu().numpy()

    number = len(matrix)
    start = np.random.default_rng(0).standard_normal(number)
    operator = LinearOperator((number, number), matvec=product, dtype=np.float64)
    return eigsh(operator, k=1, which='LA', tol=1e-10, v0=start)[1][:, 0]
