"""--images: the folders of a config's images, wherever they stand in it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from dino_plugin.commands.command_line import fail, tell
from dino_plugin.commands.few_images import nested
from dino_plugin.commands.shard_folders import count_in_shards, one_folder_a_source, take_shards
from dino_plugin.data.images.image_files import EXTENSIONS, find_images, read_image_list

_CLASSES = ('model.num_classes', 'model.head.num_classes', 'model.data_preprocessor.num_classes')


def train_on(cfg: Config, folders: Sequence[str], options: Mapping[str, Any]) -> None:
    """Put folders of images into a config that trains.

    Pretraining reads all images below them, or those of a text list in place of a folder; ``model.num_images`` follows
    where a recipe has it, and a k-NN during the training whose folders do not exist is left out. Other trainings have
    labels or masks, and their folders keep their places below the new one: ``data/custom/train`` and
    ``data/custom/val`` become ``DIR/train`` and ``DIR/val``.

    Args:
        cfg: Changed in place.
        folders: At least one.
        options: Of the command line, by their dotted names; they win.

    Raises:
        SystemExit: If the config has no place for them; the message says which option has.
    """
    if cfg.model.type != 'dino_plugin.SelfDistillationModel':
        if len(folders) > 1:
            fail(f'--images: this config has labels; give one folder with its layout, not {len(folders)}.')
        use_folder(cfg, folders[0])
        return
    _pretrain_on(cfg, list(folders))
    cfg.merge_from_dict(options)
    if cfg.model.get('num_images') is not None and 'model.num_images' not in options:
        cfg.model.num_images = _count_images(cfg) or cfg.model.num_images
    _leave_out_other_knn(cfg)


def use_folder(cfg: Config, folder: str) -> None:
    """Put one folder in the place of that which all sets of a config share.

    Raises:
        SystemExit: If they share none, or lists of another place belong to the images.
    """
    sets = _labelled_sets(cfg)
    evaluators = [cfg.get('val_evaluator'), cfg.get('test_evaluator')]
    lists = [part.ann_file for part in nested(evaluators) if part.get('ann_file')]
    roots = [os.path.normpath(dataset.data_root) for dataset in sets]
    mixed = len({os.path.isabs(root) for root in roots}) > 1
    common = '' if mixed or not roots else os.path.commonpath(roots)
    if not common or lists:
        names = [f'{name}.data_root=DIR' for name in named_sets(cfg)]
        names += [
            f'{part}_evaluator.ann_file=FILE' for part in ('val', 'test') if lists and cfg.get(f'{part}_evaluator')
        ]
        why = f'its annotations are in lists of their own, such as {lists[0]}' if lists else 'its sets share no folder'
        fail(f'--images: not for this config, {why}. Instead: --cfg-options {" ".join(names)}')
    for dataset, root in zip(sets, roots):
        dataset.data_root = part_of(folder, os.path.relpath(root, common))
        take_shards(dataset)
    _set_number_of_classes(cfg, [dataset.data_root for dataset in sets], folder)


def part_of(folder: str, part: str) -> str:
    """``folder/part``; for a part named val or test the other one, if only that exists."""
    if part == '.':
        return folder
    path = os.path.join(folder, part)
    head, name = os.path.split(path)
    other = os.path.join(head, dict(val='test', test='val').get(name, name))
    return other if not os.path.isdir(path) and os.path.isdir(other) else path


def named_sets(cfg: Config) -> dict[str, ConfigDict]:
    """The sets of images of a training with labels, or of a test, by their dotted names."""
    found = {}
    places = [('train_dataloader', cfg), ('val_dataloader', cfg), ('test_dataloader', cfg)]
    places += [(name, cfg.get('test_cfg') or {}) for name in ('bank_dataloader', 'held_out_dataloader')]
    for name, holder in places:
        if holder.get(name):
            prefix = name if holder is cfg else f'test_cfg.{name}'
            found |= dict(_roots(holder[name].dataset, f'{prefix}.dataset'))
    return found


def _roots(part: Any, name: str) -> Iterator[tuple[str, ConfigDict]]:
    if isinstance(part, dict):
        if part.get('data_root'):
            yield name, part
        for key in ('dataset', 'datasets'):
            yield from _roots(part.get(key), f'{name}.{key}')
    elif isinstance(part, (list, tuple)):
        for index, entry in enumerate(part):
            yield from _roots(entry, f'{name}.{index}')


def _labelled_sets(cfg: Config) -> list[ConfigDict]:
    return list(named_sets(cfg).values())


def _pretrain_on(cfg: Config, folders: list[str]) -> None:
    if one_folder_a_source(cfg, folders):
        return
    is_list = len(folders) == 1 and os.path.isfile(folders[0])
    for dataset in nested(cfg.train_dataloader.dataset):
        if dataset.get('input_dir'):
            if len(folders) > 1:
                fail(f'--images: LightlyDataset reads one folder, not {len(folders)}.')
            dataset.input_dir = folders[0]
            return
        if is_list and dataset.get('type') == 'dino_plugin.ImageDataset':
            # relative lines are taken from here, also by a resumed training, and a message names it
            dataset.update(data_root=os.getcwd(), ann_file=os.path.abspath(folders[0]))
            return
        if 'data_root' in dataset or 'ann_file' in dataset:
            dataset.data_root = folders[0] if len(folders) == 1 else folders
            sampler = cfg.train_dataloader.sampler
            if take_shards(dataset) and sampler.type == 'dino_plugin.ResumableSampler':
                cfg.train_dataloader.sampler = dict(type='dino_plugin.ShardSampler')
            return
    fail('--images: the dataset of this config has no data_root; its own arguments: --cfg-options train_dataloader...')


def _count_images(cfg: Config) -> int | None:
    """Images of the training; None if they are neither in folders nor in shards."""
    if (in_shards := count_in_shards(cfg)) is not None:
        return in_shards
    parts = [part for part in nested(cfg.train_dataloader.dataset) if part.get('type') == 'dino_plugin.ImageDataset']
    if not parts:
        return None
    dataset = parts[0]
    if dataset.get('ann_file'):
        is_absolute = os.path.isabs(dataset.ann_file)  # by --images
        return len(read_image_list(dataset.ann_file, '', with_labels=False)) if is_absolute else None
    roots = dataset.data_root if isinstance(dataset.data_root, list) else [dataset.data_root]
    prefix = (dataset.get('data_prefix') or {}).get('img_path', '')
    folders = [os.path.join(os.path.expanduser(root), prefix) for root in roots]
    extensions: tuple[str, ...] = tuple(dataset.get('extensions', EXTENSIONS))
    visited: set[tuple[int, int]] = set()  # a folder within another counts once, as in the data set
    return sum(len(find_images(folder, extensions, visited)[0]) for folder in folders)


def _leave_out_other_knn(cfg: Config) -> None:
    """Without its own images, an evaluation during the training would end it."""
    kept = []
    for hook in cfg.get('custom_hooks') or []:
        roots = [hook[name].dataset.get('data_root') for name in ('bank', 'queries') if name in hook]
        missing = [root for root in roots if root and not Path(root).expanduser().is_dir()]
        if missing:
            tell(f'{hook.type} is left out: its images, {missing[0]}, are not here.')
        else:
            kept.append(hook)
    if 'custom_hooks' in cfg:
        cfg.custom_hooks = kept


def _set_number_of_classes(cfg: Config, roots: Iterable[str], folder: str) -> None:
    """As many classes as there are folders, where the classes are folders of one's own; or those of a file there."""
    if 'class_file' in cfg.model:
        cfg.model.data_root = folder
    types = {dataset.get('type') for dataset in _labelled_sets(cfg)}
    if not types & {'CustomDataset', 'dino_plugin.ImageDataset', 'dino_plugin.ClipDataset'}:
        return
    train = next((Path(root) for root in roots if Path(root).name == 'train'), Path(folder, 'train'))
    if not train.is_dir():
        return
    number = sum(entry.is_dir() and not entry.name.startswith('.') for entry in train.iterdir())
    for place in _CLASSES:
        *parents, last = place.split('.')
        part: Any = cfg
        for parent in parents:
            part = part.get(parent) or {}
        if number and last in part:
            part[last] = number
