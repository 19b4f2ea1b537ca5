"""A dataset of mmsegmentation whose files are checked before training begins."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from dino_plugin.data.images.decoding import check_files, naming
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.label_masks import labels_in, read_mask
from dino_plugin.data.images.user_files import MARKS, announce, expanded, read_lines
from dino_plugin.evaluation.objects.files import loaded_size

NUM_READ = 100  # masks, which is a matter of seconds


def checked_segmentation(dataset: dict, max_pixels: int = MAX_PIXELS) -> Any:
    """Build a dataset of mmsegmentation, after a check of its files; in a config ``dino_plugin.CheckedSegmentation``.

    mmsegmentation itself fails late on an empty split, a missing mask or a label outside the classes (on a GPU the
    message names no file). Some other mistakes it never reports. Here every file has to exist, and a hundred masks,
    spread over the split, are read. ``~`` is the home folder. While training, the header of each file is looked at
    before mmcv decodes it.

    Args:
        dataset: Config of the dataset.
        max_pixels: Largest number of pixels, rows times columns, that an image or a mask may have.

    Returns:
        The dataset itself.

    Raises:
        FileNotFoundError: If an image or its mask does not exist.
        PermissionError: If a folder cannot be read.
        ValueError: If the split is empty, its list is not plain UTF-8, a file is not a regular file or claims too many
            pixels, or a mask is in colour, has another size than its image, or holds a label that is neither a class
            nor ignored.
    """
    built = DATASETS.build({**_with_home(dataset), 'lazy_init': True})
    built.pipeline.transforms.insert(0, partial(check_files, max_pixels=max_pixels))
    samples = _samples(built)
    if not samples:
        raise ValueError(f'The split is empty: {_place(built)} Correct data_root, data_prefix or ann_file.')
    for sample in samples:
        for key in ('img_path', 'seg_map_path'):
            if key in sample and not Path(sample[key]).is_file():
                with naming(sample[key]):
                    announce(sample[key])
                raise FileNotFoundError(f'{sample[key]} does not exist; expected by {_place(built)}')
    for index in np.linspace(0, len(samples) - 1, min(NUM_READ, len(samples)), dtype=int):
        if 'seg_map_path' in samples[index]:
            check_mask(built, samples[index]['img_path'], samples[index]['seg_map_path'], max_pixels)
    built.full_init()
    return built


def _with_home(dataset: dict) -> dict:
    """The config without ``~`` in its paths."""
    changed = dict(dataset)
    for name in ('data_root', 'ann_file'):
        if dataset.get(name):
            changed[name] = expanded(dataset[name], name)
    if dataset.get('data_prefix'):
        prefixes = dataset['data_prefix'].items()
        changed['data_prefix'] = {name: expanded(prefix, 'data_prefix') for name, prefix in prefixes if prefix}
    return changed


def _samples(dataset: Any) -> list[dict]:
    """mmsegmentation's list of samples, after a look at the file that it reads."""
    if dataset.ann_file and Path(dataset.ann_file).exists() and not Path(dataset.ann_file).is_dir():
        names = [name for _, name in read_lines(dataset.ann_file)]
        if Path(dataset.ann_file).read_bytes()[:4].startswith(tuple(MARKS)):
            raise ValueError(
                f'{dataset.ann_file} begins with a byte-order mark, which mmsegmentation takes for a part of the first '
                f'name ({names[:1]}). Save the list as UTF-8 without it.'
            )
    try:
        return dataset.load_data_list()
    except PermissionError as error:
        raise PermissionError(
            f'{error.filename} cannot be read: {error.strerror}; expected by {_place(dataset)} Allow reading (chmod '
            'u+rx), or move it elsewhere.'
        ) from error


def check_mask(dataset: Any, image_path: str, mask_path: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a mask that does not fit its image or the dataset's classes.

    Raises:
        ValueError: As in `checked_segmentation`.
    """
    mask = read_mask(mask_path, max_pixels)
    rows, columns = loaded_size(dataset.pipeline.transforms, image_path, max_pixels)
    if mask.shape != (rows, columns):
        raise ValueError(
            f'Mask {mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels, its image {image_path} has '
            f'{columns}x{rows} as mmsegmentation loads it. Resize the mask with nearest neighbours, or correct the '
            'pairs of files.'
        )
    classes = dataset.metainfo['classes']
    wrong = [stored for stored, label in _mapped_labels(dataset, labels_in(mask)) if not 0 <= label < len(classes)]
    if wrong:
        shift = ' after 1 is subtracted (reduce_zero_label=True)' if dataset.reduce_zero_label else ''
        raise ValueError(
            f'Mask {mask_path} holds the labels {wrong}; expected 0 to {len(classes) - 1}{shift} for '
            f'{len(classes)} classes, or {dataset.ignore_index} for pixels without a label. Correct the masks, '
            'metainfo.classes or ignore_index.'
        )


def _mapped_labels(dataset: Any, labels: list[int]) -> Iterator[tuple[int, int]]:
    """(number in the file, class) for each label that is not ignored, as mmsegmentation's LoadAnnotations reads it."""
    for stored in labels:
        label = stored
        if dataset.reduce_zero_label:
            label = 255 if label in (0, 255) else label - 1
        label = (dataset.label_map or {}).get(label, label)
        if label not in (dataset.ignore_index, 255 if dataset.reduce_zero_label or dataset.label_map else None):
            yield stored, label


def _place(dataset: Any) -> str:
    parts = {'images': dataset.data_prefix.get('img_path'), 'masks': dataset.data_prefix.get('seg_map_path')}
    parts |= {'list': dataset.ann_file or None, 'suffixes': f'{dataset.img_suffix} and {dataset.seg_map_suffix}'}
    return f'{type(dataset).__name__}({", ".join(f"{key}: {value}" for key, value in parts.items() if value)}).'
