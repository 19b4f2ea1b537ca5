"""Originals and their copies: any folder under attack, and the layout of Copydays."""

import os
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.images.user_files import expanded
from dino_plugin.evaluation.retrieval.attacks import ATTACKS

JPEG_QUALITIES = (3, 5, 8, 10, 15, 20, 30, 50, 75)
CROPS = (10, 15, 20, 30, 40, 50, 60, 70, 80)
BLOCKS = ('strong', *(f'jpegqual/{quality}' for quality in JPEG_QUALITIES), *(f'crops/{share}' for share in CROPS))
PREFIX = 4  # letters of a name that an original and its copies share


class OriginalImages(ImageDataset):
    """The images among which copies are searched: the label of an original is its number, that of a distractor -1.

    Args:
        data_root: Folder of the originals; of Copydays its folder ``original``.
        distractors: A folder of other images, which are never right.
        **kwargs: Of :class:`ImageDataset`.

    Raises:
        FileNotFoundError, ValueError: As in :class:`ImageDataset`, for both folders.
    """

    def __init__(self, data_root: str | os.PathLike, distractors: str | os.PathLike = '', **kwargs: Any) -> None:
        self.distractors = expanded(distractors, 'distractors')
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Originals first."""
        originals = super().load_data_list()
        others = ImageDataset(self.distractors, extensions=self.extensions) if self.distractors else []
        distractors = [others.get_data_info(number) for number in range(len(others))]
        return [dict(info, gt_label=number) for number, info in enumerate(originals)] + [
            dict(img_path=info['img_path'], gt_label=-1) for info in distractors
        ]


class AttackedImages(ImageDataset):
    """Each image of a folder after each attack, for the step ``AttackImage`` of the pipeline.

    The label is the number of the image, plus the number of images for each attack before. ``metainfo`` has the names
    (``blocks``) and ``num_originals``, from which :class:`CopyMetric` knows them.

    Args:
        data_root: Folder of the originals.
        attacks: Names of `ATTACKS`; None: all.
        seed: Of what is random in them.
        **kwargs: Of :class:`ImageDataset`.

    Raises:
        FileNotFoundError, ValueError: As in :class:`ImageDataset`; if an attack is unknown or there is none.
    """

    def __init__(
        self, data_root: str | os.PathLike, attacks: Sequence[str] | None = None, seed: int = 0, **kwargs: Any
    ) -> None:
        self.attacks = ATTACKS if attacks is None else tuple(attacks)
        self.seed = seed
        unknown = [name for name in self.attacks if name not in ATTACKS]
        if unknown or not self.attacks:
            raise ValueError(f'attacks={self.attacks}: choose one or more of {", ".join(ATTACKS)}.')
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """All images after the first attack, then after the second one, and so on."""
        originals = super().load_data_list()
        self._metainfo.update(blocks=self.attacks, num_originals=len(originals))
        return [
            dict(info, gt_label=block * len(originals) + number, attack=(name, self.seed, number))
            for block, name in enumerate(self.attacks)
            for number, info in enumerate(originals)
        ]


class CopydaysCopies(ImageDataset):
    """The copies of INRIA Copydays: ``strong/``, ``jpegqual/<quality>/`` and ``crops/<percent>/`` beside ``original/``.

    A copy belongs to the original whose name begins with the same four letters (``2000`` of ``200002.jpg``). Labels and
    ``metainfo`` are as in :class:`AttackedImages`; originals are numbered by name, as in :class:`OriginalImages`.

    Args:
        data_root: Folder with ``original`` and the folders of copies.
        blocks: Folders of copies; None: those of `BLOCKS` that exist.
        **kwargs: Of :class:`ImageDataset`.

    Raises:
        FileNotFoundError: If ``original`` or a block is missing, or none exists.
        ValueError: If a copy has no original, or several originals begin with the same four letters.
    """

    def __init__(self, data_root: str | os.PathLike, blocks: Sequence[str] | None = None, **kwargs: Any) -> None:
        self.blocks = None if blocks is None else tuple(blocks)
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The copies, block by block."""
        root = self.data_prefix['img_path'].rstrip('/')
        present = [name for name in BLOCKS if os.path.isdir(os.path.join(root, name))]
        blocks = tuple(present) if self.blocks is None else self.blocks
        missing = [name for name in ('original', *blocks) if not os.path.isdir(os.path.join(root, name))]
        if missing or not blocks:
            raise FileNotFoundError(
                f'{root} lacks {", ".join(missing) or "copies"} of the layout of Copydays: original/, strong/, '
                f'jpegqual/3/, crops/10/ and so on; found of them: {", ".join(present) or "nothing"}.'
            )
        originals, _ = find_images(os.path.join(root, 'original'), self.extensions)
        number_of = _numbers_by_prefix(originals)
        samples = []
        for block, name in enumerate(blocks):
            for path in find_images(os.path.join(root, name), self.extensions)[0]:
                number = number_of.get(os.path.basename(path)[:PREFIX])
                if number is None:
                    raise ValueError(
                        f'{path} has no original: no name in {root}/original begins with the same letters.'
                    )
                samples.append(dict(img_path=path, gt_label=block * len(originals) + number))
        self._metainfo.update(blocks=blocks, num_originals=len(originals))
        print_log(f'{len(samples)} copies of {len(originals)} originals in {root}: {", ".join(blocks)}', 'current')
        return samples


def _numbers_by_prefix(paths: list[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, path in enumerate(paths):
        prefix = os.path.basename(path)[:PREFIX]
        if prefix in numbers:
            raise ValueError(f'{paths[numbers[prefix]]} and {path} both begin with {prefix}: which is the original?')
        numbers[prefix] = number
    return numbers
