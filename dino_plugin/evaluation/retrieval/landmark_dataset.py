"""Images of the revisited Oxford and Paris as mmengine datasets."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.image_files import missing_files
from dino_plugin.data.images.user_files import expanded
from dino_plugin.evaluation.retrieval.landmarks import GroundTruth, read_ground_truth

IMAGES = 'jpg'


class LandmarkBank(ImageDataset):
    """The images among which landmarks are searched; the label is the number in the ground truth.

    Args:
        data_root: Folder with ``jpg/`` and the ground truth, such as ``roxford5k``.
        ground_truth: Its name in the folder; None: the only ``gnd_*.pkl`` or ``gnd_*.json``.
        distractors: A folder of other images, which are never right; their label is -1.
        **kwargs: Of :class:`ImageDataset`.

    Raises:
        FileNotFoundError: If the folder, the ground truth or an image that it names is missing.
        ValueError: If the ground truth is not one, or there are several and none is named.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        ground_truth: str | None = None,
        distractors: str | os.PathLike = '',
        **kwargs: Any,
    ) -> None:
        self.ground_truth = ground_truth
        self.distractors = expanded(distractors, 'distractors')
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Images of the ground truth first."""
        truth, folder = open_ground_truth(self.data_prefix['img_path'], self.ground_truth)
        others = ImageDataset(self.distractors, extensions=self.extensions) if self.distractors else []
        distractors = [others.get_data_info(number)['img_path'] for number in range(len(others))]
        named = paths_of(truth.images, folder)
        return [dict(img_path=path, gt_label=number) for number, path in enumerate(named)] + [
            dict(img_path=path, gt_label=-1) for path in distractors
        ]


class LandmarkQueries(ImageDataset):
    """The queries; the label is the place among them. ``metainfo`` has the ``truth`` for :class:`LandmarkMetric`.

    Args:
        data_root: As in :class:`LandmarkBank`.
        ground_truth: Likewise.
        crop: Give the box of the landmark to the step ``CutToBox`` of the pipeline, as the protocol of the revisited
            sets has it. False: whole images, as in the code of DINO's authors.
        **kwargs: Of :class:`ImageDataset`.

    Raises:
        FileNotFoundError, ValueError: As in :class:`LandmarkBank`.
    """

    def __init__(
        self, data_root: str | os.PathLike, ground_truth: str | None = None, crop: bool = True, **kwargs: Any
    ) -> None:
        self.ground_truth = ground_truth
        self.crop = crop
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The queries in the order of the ground truth."""
        truth, folder = open_ground_truth(self.data_prefix['img_path'], self.ground_truth)
        paths = paths_of([query.name for query in truth.queries], folder)
        self._metainfo['truth'] = truth.queries
        return [
            dict(img_path=path, gt_label=number, box=query.box if self.crop else None)
            for number, (path, query) in enumerate(zip(paths, truth.queries))
        ]


def open_ground_truth(root: str, name: str | None) -> tuple[GroundTruth, Path]:
    """The ground truth of a folder, and the folder of its images.

    Raises:
        FileNotFoundError, ValueError: As in :class:`LandmarkBank`.
    """
    folder = Path(root)
    if not (folder / IMAGES).is_dir():
        raise FileNotFoundError(
            f'{folder / IMAGES} is not a folder (working directory: {os.getcwd()}). data_root needs {IMAGES}/ with the '
            'images and a ground truth such as gnd_roxford5k.pkl.'
        )
    found = [name] if name else sorted(path.name for path in folder.glob('gnd_*') if path.suffix in ('.pkl', '.json'))
    if len(found) > 1:
        raise ValueError(f'{folder} has {len(found)} ground truths: name one of {", ".join(found)} by ground_truth.')
    if not found or not (folder / found[0]).is_file():
        raise FileNotFoundError(f'{folder} has no {found[0] if found else "gnd_*.pkl or gnd_*.json"}.')
    truth = read_ground_truth(folder / found[0])
    print_log(f'{len(truth.queries)} queries, {len(truth.images)} images in {folder}', 'current')
    return truth, folder / IMAGES


def paths_of(names: Sequence[str], folder: Path) -> list[str]:
    """The files of names without ending.

    Raises:
        FileNotFoundError: If one is missing.
    """
    paths = [str(folder / f'{name}.jpg') for name in names]
    missing = missing_files(paths)
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} images that the ground truth names are missing, such as {missing[0]}.'
        )
    return paths
