"""The bilateral solver: a mask that follows the edges of the image."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.ndimage import binary_fill_holes
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import cg

CONFIDENCE = 0.999  # in every pixel of the mask, as in TokenCut
ROUNDS = 10  # in which the weights of the grid are balanced
LEAST = 1e-5  # of the preconditioner's diagonal


def solve_bilateral(
    image: UInt8[np.ndarray, 'rows columns 3'],
    mask: Bool[np.ndarray, 'rows columns'],
    spatial: float = 16.0,
    luma: float = 16.0,
    chroma: float = 8.0,
    smoothness: float = 256.0,
) -> Float[np.ndarray, 'rows columns']:
    """The smooth map x that stays near the mask t where pixels are near each other in place and colour.

    min_x  smoothness / 2 * sum_ij W_ij (x_i - x_j)^2 + sum_i c (x_i - t_i)^2,  c = 0.999

    Pixels are gathered in the cells of a grid in five dimensions (row, column, Y, U, V). W is its blur, scaled so that
    its rows sum to 1. At most 25 steps of conjugate gradients, as in TokenCut.

    Args:
        image: RGB.
        mask: What to start from.
        spatial: Side of a cell in pixels.
        luma: Side of a cell in levels of brightness, of 255.
        chroma: Side of a cell in levels of colour.
        smoothness: How much more smoothness counts than the mask.

    Returns:
        A map in [0, 1].

    References:
        Barron and Poole 2016, The Fast Bilateral Solver, arXiv:1511.03296; values of YangtaoWANG95/TokenCut.
    """
    pixel_keys, steps = _keys(image, (spatial, spatial, luma, chroma, chroma))
    keys, owner, pixels = np.unique(pixel_keys, return_inverse=True, return_counts=True)
    blur = _blur(keys, steps)
    scale = np.ones(len(keys))
    for _ in range(ROUNDS):
        scale = np.sqrt(scale * pixels / (blur @ scale))
    balance = scale * (blur @ scale)
    confidence = CONFIDENCE * pixels
    matrix = smoothness * (diags(balance) - diags(scale) @ blur @ diags(scale)) + diags(confidence)
    target = CONFIDENCE * np.bincount(owner, weights=mask.ravel())
    preconditioner = diags(1 / np.maximum(matrix.diagonal(), LEAST))
    found, _ = cg(matrix, target, x0=target / confidence, M=preconditioner, rtol=1e-5, maxiter=25)
    return found[owner].reshape(mask.shape).clip(0, 1)


def refine_mask(
    image: UInt8[np.ndarray, 'rows columns 3'], mask: Bool[np.ndarray, 'rows columns']
) -> tuple[Float[np.ndarray, 'rows columns'], Bool[np.ndarray, 'rows columns']]:
    """The map of `solve_bilateral`, and the largest connected part of where it is above 0.5, without its holes.

    The mask is returned as it was if nothing is above 0.5.
    """
    soft = solve_bilateral(image, mask)
    filled = binary_fill_holes(soft > 0.5)
    number, parts, statistics, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=4)
    if number == 1:
        return soft, mask
    return soft, parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def _keys(
    image: UInt8[np.ndarray, 'rows columns 3'], sides: tuple[float, ...]
) -> tuple[Int64[np.ndarray, ' pixels'], Int64[np.ndarray, ' dimensions']]:
    """A number for the cell of each pixel, and by how much it grows from a cell to the next in each dimension."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    colours = 255 * cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    values = np.stack([rows, columns, *np.moveaxis(colours, -1, 0)], axis=-1).reshape(-1, 5)
    cells = np.floor(values / np.array(sides)).astype(np.int64)
    extent = cells.max(axis=0) + 2  # a gap, so that the last cell of a row is no neighbour of the next row's first
    steps = np.concatenate([[1], extent[:-1].cumprod()])
    return cells @ steps, steps


def _blur(keys: Int64[np.ndarray, ' cells'], steps: Int64[np.ndarray, ' dimensions']) -> csr_matrix:
    """Twice the number of dimensions times a cell, plus its neighbours in each dimension, where they have pixels."""
    number = len(keys)
    blur = 2 * len(steps) * diags(np.ones(number), format='csr')
    for step in steps:
        places = np.searchsorted(keys, keys + step).clip(max=number - 1)
        here = np.flatnonzero(keys[places] == keys + step)
        pairs = csr_matrix((np.ones(len(here)), (here, places[here])), shape=(number, number))
        blur = blur + pairs + pairs.T
    return blur.tocsr()
