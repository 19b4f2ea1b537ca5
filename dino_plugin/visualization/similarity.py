"""Which patches are like a chosen one, which belong together, and which fit between two images."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.visualization.attention import heat_overlay
from dino_plugin.visualization.tiles import tile_sheet

PART_COLOURS = np.array([
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
    (120, 120, 120), (90, 40, 140), (60, 60, 20), (170, 220, 170), (250, 170, 170),
], np.uint8)  # fmt: skip

Images = Sequence[UInt8[np.ndarray, '_ _ 3']]
Grids = Sequence[Float[Tensor, '_ _ dim']]


def similarity_sheet(
    images: Images, grids: Grids, point: tuple[int, int], smooth: bool = False
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """Each image beside its similarity to the patch at a point of the first image, which a cross marks.

    The glow is the cosine of two patches' features, from 0 (and below: dark) to the largest other than 1.

    Args:
        images: RGB, as the network sees them.
        grids: Features of their patches.
        point: Row and column of a pixel of the first image.
        smooth: As in `heat_overlay`.

    Raises:
        ValueError: If the point is outside the image.
    """
    rows, columns = images[0].shape[:2]
    if not (0 <= point[0] < rows and 0 <= point[1] < columns):
        raise ValueError(
            f'the point {point} is outside the first image: rows 0 to {rows - 1}, columns to {columns - 1}.'
        )
    place = [position * patches // size for position, patches, size in zip(point, grids[0].shape, images[0].shape)]
    chosen = normalize(grids[0][place[0], place[1]], dim=0)
    tiles = []
    for number, (image, grid) in enumerate(zip(images, grids)):
        heat = heat_overlay(image, (normalize(grid, dim=-1) @ chosen).clamp_min(0).numpy(), smooth)
        shown = image.copy()
        if number == 0:
            for picture in (shown, heat):
                size = max(10, rows // 20)
                for colour, width in (((255, 255, 255), 5), ((220, 0, 0), 2)):
                    cv2.drawMarker(picture, point[::-1], colour, cv2.MARKER_CROSS, size, width)
        tiles.append([('', shown), ('', heat)])
    return tile_sheet(tiles)


def cluster_patches(grids: Grids, number: int, seed: int = 0) -> list[Int[np.ndarray, '_ _']]:
    """k-means of the normalised features of all patches together: the part, from 0 on, of each patch.

    Part 0 has the most patches.

    Args:
        grids: Features of the patches of each image.
        number: Of parts.
        seed: Of the start by k-means++.

    Raises:
        ValueError: If there are fewer patches than parts, or parts than 2.
    """
    vectors = torch.cat([normalize(grid, dim=-1).flatten(0, 1) for grid in grids]).double().numpy()
    if not 2 <= number <= len(vectors):
        raise ValueError(f'k-means of {len(vectors)} patches needs 2 to {len(vectors)} parts, got {number}.')
    _, labels = kmeans2(vectors, number, iter=50, minit='++', seed=seed, missing='warn')
    order = np.argsort(-np.bincount(labels, minlength=number), kind='stable')
    labels = np.argsort(order)[labels]
    sizes = [grid.shape[0] * grid.shape[1] for grid in grids]
    parts = np.split(labels, np.cumsum(sizes)[:-1])
    return [part.reshape(grid.shape[:2]) for part, grid in zip(parts, grids)]


def parts_sheet(images: Images, parts: Sequence[Int[np.ndarray, '_ _']]) -> UInt8[np.ndarray, 'rows columns 3']:
    """Each image beside its parts, in colours that all images share.

    Args:
        images: RGB, as the network sees them.
        parts: As `cluster_patches` gives them.

    Raises:
        ValueError: If there are more parts than colours that can be told apart.
    """
    number = 1 + max(int(part.max()) for part in parts)
    if number > len(PART_COLOURS):
        raise ValueError(f'at most {len(PART_COLOURS)} parts have a colour of their own, got {number}.')
    tiles = []
    for image, part in zip(images, parts):
        colours = PART_COLOURS[part]
        large = cv2.resize(colours, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        tiles.append([('', image), ('', (0.3 * image + 0.7 * large).round().astype(np.uint8))])
    return tile_sheet(tiles)


def match_patches(
    first: Float[Tensor, '_ _ dim'], second: Float[Tensor, '_ _ dim'], number: int = 20
) -> tuple[Int[Tensor, 'matches 2 2'], Float[Tensor, ' matches']]:
    """The most similar pairs of patches of two images that are each other's nearest, and their cosines.

    Pairs whose patches in the first image lie beside each other tell the same; of these the most similar one is taken.

    Args:
        first: Patch features of an image.
        second: Those of another.
        number: Of pairs, at most.

    Returns:
        Row and column of a patch in the first and in the second image, and the cosines, largest first.

    Raises:
        ValueError: If the number is less than 1.
    """
    if number < 1:
        raise ValueError(f'the number of pairs must be at least 1, got {number}.')
    one, other = (normalize(grid, dim=-1).flatten(0, 1) for grid in (first, second))
    cosines = one @ other.T
    nearest, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
    mutual = (back[nearest] == torch.arange(len(one))).nonzero()[:, 0]
    values = cosines[mutual, nearest[mutual]]
    chosen: list[tuple[int, int, float]] = []
    apart = max(first.shape[:2]) / (2 * number**0.5)  # of two places in the first image, in patches
    for place in values.argsort(descending=True).tolist():
        row, column = divmod(int(mutual[place]), first.shape[1])
        if all(np.hypot(row - a // first.shape[1], column - a % first.shape[1]) >= apart for a, _, _ in chosen):
            chosen.append((int(mutual[place]), int(nearest[mutual[place]]), float(values[place])))
        if len(chosen) == number:
            break
    pairs = [[divmod(a, first.shape[1]), divmod(b, second.shape[1])] for a, b, _ in chosen]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2, 2), torch.tensor([value for _, _, value in chosen])


def matches_sheet(
    images: Images, grids: Grids, pairs: Int[Tensor, 'matches 2 2']
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """Two images side by side, with a line between the centres of each pair of patches.

    Args:
        images: Two, RGB, as the network sees them.
        grids: Features of their patches.
        pairs: As `match_patches` gives them.
    """
    gap = max(4, images[0].shape[1] // 60)
    height = max(image.shape[0] for image in images)
    sheet = np.full((height, images[0].shape[1] + gap + images[1].shape[1], 3), 255, np.uint8)
    lefts = (0, images[0].shape[1] + gap)
    for image, left in zip(images, lefts):
        sheet[: image.shape[0], left : left + image.shape[1]] = image
    for number, pair in enumerate(pairs.tolist()):
        ends = [
            (
                left + round((column + 0.5) * image.shape[1] / grid.shape[1]),
                round((row + 0.5) * image.shape[0] / grid.shape[0]),
            )
            for (row, column), image, grid, left in zip(pair, images, grids, lefts)
        ]
        colour = cv2.cvtColor(np.uint8([[[number * 180 // len(pairs), 200, 255]]]), cv2.COLOR_HSV2RGB)[0, 0].tolist()
        width = max(1, height // 240)
        cv2.line(sheet, *ends, colour, width, cv2.LINE_AA)
        for end in ends:
            cv2.circle(sheet, end, 3 * width, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(sheet, end, 2 * width, colour, -1, cv2.LINE_AA)
    return sheet
