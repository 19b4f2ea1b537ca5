"""Images with the depth of their pixels: files in two folders, or pairs in a list."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from dino_plugin.data.images.channel_files import read_channels
from dino_plugin.data.images.decoding import image_size
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.user_files import expanded, read_lines
from dino_plugin.evaluation.objects.files import images_in, refuse_missing

ENDINGS = ('.png', '.npy', '.tif', '.tiff')
NUM_READ = 50  # depth maps before training, a matter of seconds
PLAUSIBLE = (0.05, 300.0)  # metres: medians outside are a mistake of the unit, or worth a look


def read_depth(
    path: str | os.PathLike, unit: float, rotated_bits: int = 0, max_pixels: int = MAX_PIXELS
) -> Float32[np.ndarray, 'rows columns']:
    """Depths in metres, 0 where nothing was measured: at 0, at negative numbers, NaN and infinity.

    Args:
        path: PNG of 8 or 16 bits, TIFF or ``.npy`` with one channel.
        unit: Metres of a stored 1: 0.001 for millimetres, 1 / 5000 for TUM, 1 / 256 for KITTI.
        rotated_bits: Bits that a 16-bit number is rotated by to the left in the file: 3 for SUN RGB-D, else 0.
        max_pixels: Largest number of pixels that a file may claim.

    Raises:
        ValueError: If the file is damaged or has several channels; the message names it.
    """
    stored = read_channels(path, num_channels=1, max_pixels=max_pixels)[..., 0]
    if rotated_bits:
        if stored.dtype != np.uint16:
            raise ValueError(f'{path} has values of type {stored.dtype}; rotated_bits is for PNG of 16 bits.')
        stored = stored >> rotated_bits | stored << (16 - rotated_bits)
    depth = stored.astype(np.float32) * np.float32(unit)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


class LoadDepth(BaseTransform):
    """``depth_map_path`` -> ``gt_depth_map``, see `read_depth`.

    Steps of mmsegmentation after it cut, flip and rotate both. After ``Resize`` in a pipeline of tests, the prediction
    is compared at the size of the file.

    Args:
        unit: As in `read_depth`.
        rotated_bits: As in `read_depth`.

    Raises:
        ValueError: If the unit is not above 0.
    """

    def __init__(self, unit: float = 0.001, rotated_bits: int = 0) -> None:
        if not unit > 0:
            raise ValueError(f'LoadDepth: unit={unit} must be above 0: the metres of a stored 1.')
        self.unit, self.rotated_bits = unit, rotated_bits

    def transform(self, results: dict) -> dict:
        """Add ``gt_depth_map`` to the fields that follow the image."""
        results['gt_depth_map'] = read_depth(results['depth_map_path'], self.unit, self.rotated_bits)
        results['seg_fields'].append('gt_depth_map')
        return results


class KeepWindow(BaseTransform):
    """Keep a fixed part of image and depth: NYU without its white frame, or KITTI's lower middle.

    Args:
        rows: First row and the one after the last; negative numbers count from the bottom, None means the edge.
        columns: The same of the columns; or one number, the width of a window in the middle.
    """

    def __init__(
        self,
        rows: tuple[int | None, int | None] = (None, None),
        columns: tuple[int | None, int | None] | int = (None, None),
    ) -> None:
        self.rows, self.columns = rows, columns

    def transform(self, results: dict) -> dict:
        """Cut ``img`` and all fields that follow it."""
        start, stop = self.columns if not isinstance(self.columns, int) else (None, None)
        if isinstance(self.columns, int):
            start = max(0, (results['img'].shape[1] - self.columns) // 2)
            stop = start + self.columns
        for key in ('img', *results.get('seg_fields', ())):
            results[key] = np.ascontiguousarray(results[key][slice(*self.rows), start:stop])
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_depth_map' in results.get('seg_fields', ()):
            results['ori_shape'] = results['img_shape']  # that of the prediction
        return results


class DepthDataset(BaseDataset):
    """Images and their depths, for pipelines of mmsegmentation.

    Files have the same names in two folders, at any depth below them; the ending of a depth is one of PNG, ``.npy`` and
    TIFF. Or a list names pairs, "image depth" in a line, as those of NYU and KITTI, where a third word, the focal
    length, is not used, and lines with "None" are left out. Fifty depths, spread over the data set, are read before
    training.

    Args:
        data_root: Folder that all paths begin in.
        images: Folder of the images.
        depths: Folder of the depths.
        pairs: Text list of pairs, in place of the names in the folders.
        indices: Take the first so many, or those at these places.
        max_pixels: Largest number of pixels, rows times columns, of a file.
        pipeline: Steps; a `LoadDepth` among them says the unit.
        test_mode: mmengine's.

    Raises:
        FileNotFoundError: If a folder, list or file is missing.
        ValueError: If there is no image; a depth has another size than its image, or no measured pixel.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
        images: str = 'images',
        depths: str = 'depths',
        pairs: str | None = None,
        indices: int | Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
        pipeline: Sequence = (),
        test_mode: bool = False,
    ) -> None:
        self.root = Path(expanded(data_root, 'data_root'))
        self.folders, self.pairs, self.max_pixels = (self.root / images, self.root / depths), pairs, max_pixels
        super().__init__(
            data_root=str(self.root), pipeline=list(pipeline), test_mode=test_mode, indices=indices, max_refetch=1,
            metainfo=dict(classes=('depth',), palette=[[255, 255, 255]]),
        )  # fmt: skip

    def load_data_list(self) -> list[dict]:
        """One sample for each image, after a look at the files."""
        found = self._in_folders() if self.pairs is None else self._in_list()
        self._check(found[:: max(1, len(found) // NUM_READ)])
        return [dict(img_path=str(image), depth_map_path=str(depth), seg_fields=[]) for image, depth in found]

    def _in_folders(self) -> list[tuple[Path, Path]]:
        images, depths = self.folders
        for folder in self.folders:
            if not folder.is_dir():
                raise FileNotFoundError(f'{folder} is no folder. Correct data_root, images or depths.')
        named = images_in(images)
        partners = [
            next((path for ending in ENDINGS if (path := depths / f'{name}{ending}').is_file()), depths / f'{name}.png')
            for name in named
        ]
        refuse_missing(partners, f'depths ({" ".join(ENDINGS)}) of the names of the images', depths)
        return list(zip(named.values(), partners))

    def _in_list(self) -> list[tuple[Path, Path]]:
        lines = [(place, text.split()) for place, text in read_lines(self.root / self.pairs)]
        for place, words in lines:
            if len(words) < 2:
                raise ValueError(f'{self.root / self.pairs}, line {place}: "image depth" expected, got {words}.')
        # Some published lists have a slash before names below the folder.
        found = [
            (self.folders[0] / words[0].lstrip('/'), self.folders[1] / words[1].lstrip('/'))
            for _, words in lines
            if 'None' not in words[:2]
        ]
        if not found:
            raise ValueError(f'{self.root / self.pairs} names no pair of image and depth.')
        for paths, folder in zip(zip(*found), self.folders):
            refuse_missing(list(paths), f'files that {self.pairs} names', folder)
        return found

    def _check(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        """Read some depths; tell a mistake of the unit."""
        loader = next((step for step in self.pipeline.transforms if isinstance(step, LoadDepth)), None)
        if loader is None:
            return
        medians = []
        for image, path in pairs:
            depth = read_depth(path, loader.unit, loader.rotated_bits, self.max_pixels)
            rows, columns = image_size(image, self.max_pixels)
            if depth.shape != (rows, columns):
                raise ValueError(
                    f'Depth {path} has {depth.shape[1]}x{depth.shape[0]} pixels, its image {image} has '
                    f'{columns}x{rows}. Resize the depth with nearest neighbours, or correct the pairs of files.'
                )
            if (depth > 0).any():
                medians.append(np.median(depth[depth > 0]))
        if not medians:
            raise ValueError(f'None of {len(pairs)} depths that were read has a measured pixel (first: {pairs[0][1]}).')
        middle = float(np.median(medians))
        if not PLAUSIBLE[0] < middle < PLAUSIBLE[1]:
            print_log(
                f'The median depth is {middle:.4g} m with unit={loader.unit:g}: is that the unit of {pairs[0][1]}? '
                'dino_plugin.LoadDepth(unit=0.001) is for millimetres, 1.0 for metres.',
                logger='current', level=30,
            )  # fmt: skip
