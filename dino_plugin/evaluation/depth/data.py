"""Images with the depth of their pixels: files in two folders, or pairs in a list."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from dino_plugin.data.images.file_structure import Size
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.user_files import expanded, read_lines
from dino_plugin.evaluation.depth.pipeline_steps import LoadDepth, depth_size, read_depth, refuse_other_size
from dino_plugin.evaluation.objects.files import images_in, loaded_size, refuse_missing
from dino_plugin.evaluation.progress import progress

ENDINGS = ('.png', '.npy', '.tif', '.tiff')
NUM_READ = 50  # depth maps before training, a matter of seconds; of all others the headers
PLAUSIBLE = (0.05, 300.0)  # metres: medians outside are a mistake of the unit, or worth a look


class DepthDataset(BaseDataset):
    """Images and their depths, for pipelines of mmsegmentation.

    Files have the same names in two folders, at any depth below them; the ending of a depth is one of PNG, ``.npy`` and
    TIFF. Or a list names pairs, "image depth" in a line, as those of NYU and KITTI, where a third word, the focal
    length, is not used, and lines with "None" are left out. Before training the sizes of all pairs are compared, and
    at most 50 depths, evenly spread, are read.

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
        self.depths_read = np.empty(0, np.float32)  # metres of some measured pixels, for `DepthRangeHook`
        self.folders, self.pairs, self.max_pixels = (self.root / images, self.root / depths), pairs, max_pixels
        super().__init__(
            data_root=str(self.root), pipeline=list(pipeline), test_mode=test_mode, indices=indices, max_refetch=1,
            metainfo=dict(classes=('depth',), palette=[[255, 255, 255]]),
        )  # fmt: skip

    def load_data_list(self) -> list[dict]:
        """One sample for each image."""
        found = self._in_folders() if self.pairs is None else self._in_list()
        known = {} if self.max_pixels == MAX_PIXELS else dict(max_pixels=self.max_pixels)
        return [dict(known, img_path=str(image), depth_map_path=str(depth), seg_fields=[]) for image, depth in found]

    def full_init(self) -> None:
        """mmengine's, with a look at the files of the samples that are chosen."""
        if not self._fully_initialized:
            super().full_init()
            infos = [self.get_data_info(index) for index in range(len(self))]
            self._check([(info['img_path'], info['depth_map_path']) for info in infos])

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

    def _check(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Compare all sizes, read some depths; tell a mistake of the unit."""
        loader = next((step for step in self.pipeline.transforms if isinstance(step, LoadDepth)), None)
        if loader is None:
            return
        with ThreadPoolExecutor(8) as pool:
            for (image, depth), sizes in zip(pairs, progress(pool.map(self._sizes, pairs), 'sizes', len(pairs))):
                refuse_other_size(depth, sizes[1], image, sizes[0])
        medians, some = [], [np.empty(0, np.float32)]
        for place in np.linspace(0, len(pairs) - 1, min(NUM_READ, len(pairs)), dtype=int):
            depth = read_depth(pairs[place][1], loader.unit, loader.rotated_bits, self.max_pixels)
            if (depth > 0).any():
                measured = depth[depth > 0]
                medians.append(np.median(measured))
                some.append(measured[:: 1 + len(measured) // 2000])
        self.depths_read = np.concatenate(some)
        if not medians:
            raise ValueError(
                f'None of {min(NUM_READ, len(pairs))} depths that were read has a measured pixel (first: '
                f'{pairs[0][1]}).'
            )
        middle = float(np.median(medians))
        if not PLAUSIBLE[0] < middle < PLAUSIBLE[1]:
            print_log(
                f'The median depth is {middle:.4g} m with unit={loader.unit:g}: is that the unit of {pairs[0][1]}? '
                'dino_plugin.LoadDepth(unit=0.001) is for millimetres, 1.0 for metres.',
                logger='current', level=30,
            )  # fmt: skip

    def _sizes(self, pair: tuple[str, str]) -> tuple[Size, Size]:
        """Rows and columns of an image, as it is loaded, and of its depth."""
        return loaded_size(self.pipeline.transforms, pair[0], self.max_pixels), depth_size(pair[1], self.max_pixels)
