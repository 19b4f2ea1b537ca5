"""A folder of images -> tar shards in webdataset's layout."""

import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from dino_plugin.data.images.decoding import refuse_incomplete
from dino_plugin.data.images.headers import MAX_PIXELS, UndecodableImageError, header_size, read_from
from dino_plugin.data.images.user_files import announce
from dino_plugin.data.sources.tar_members import BYTES

PLAN = 'plan.json'
SKIPPED = 'skipped.txt'
_CHANNELS = ('.tif', '.tiff', '.npy')  # of channels that only `LoadChannels` knows


def write_shards(
    samples: Sequence[dict],
    root: str | os.PathLike,
    out: str | os.PathLike,
    images_per_shard: int = 10_000,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Copy images into shards `00000.tar`, `00001.tar`, …, as they are: nothing is decoded and encoded again.

    They go there in random order, so that each shard is a random sample of all of them, and a sampler that has few
    shards open at a time still gives batches like those of a sampler that has all. A shard has its name only when it is
    whole; run again, only those that are missing are written. Files that are no whole images are left out and named in
    `skipped.txt`.

    Args:
        samples: `img_path` and, if there are labels, `gt_label` of each, as `find_images` and `find_classes` give them.
        root: Members are named by their path relative to it, without dots before the ending.
        out: A folder.
        images_per_shard: The last shard has fewer.
        seed: Of the order.
        progress: Around the numbers of the shards, for a bar.

    Raises:
        ValueError: If the folder was begun with other images or options, or the number is not positive.
        OSError: If the disk is full, or an image cannot be read for another reason than its own.
    """
    if images_per_shard < 1:
        raise ValueError(f'images_per_shard={images_per_shard}: a shard has one image or more.')
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    names = member_names([os.path.relpath(sample['img_path'], root) for sample in samples])
    options = dict(images_per_shard=images_per_shard, seed=seed, labels='gt_label' in samples[0])
    _check_plan(out / PLAN, names, options)
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)
    for number in progress(range(-(-len(order) // images_per_shard))):
        path = out / f'{number:05d}.tar'
        if not path.exists():
            chosen = order[number * images_per_shard : (number + 1) * images_per_shard]
            skipped = _write_shard(path, [(names[place], samples[place]) for place in chosen])
            with open(out / SKIPPED, 'a', encoding='utf-8', errors=BYTES) as file:
                file.writelines(f'{line}\n' for line in skipped)


def member_names(paths: Sequence[str]) -> list[str]:
    """Names of members for these relative paths: no two with one key, and no dot but that of the ending."""
    names, taken = [], set()
    for number, path in enumerate(paths):
        stem, ending = os.path.splitext(path)
        folder, base = os.path.split(stem)
        key = os.path.join(folder, base.replace('.', '_'))
        while key in taken:
            key = f'{key}_{number}'
        taken.add(key)
        names.append(key + ending.lower())
    return names


def _check_plan(path: Path, names: Sequence[str], options: dict) -> None:
    """A folder has shards of one plan, or images would be there twice or not at all."""
    plan = dict(options, images=len(names), digest=hashlib.sha256('\n'.join(names).encode(errors=BYTES)).hexdigest())
    if path.exists():
        before = json.loads(path.read_text())
        if before != plan:
            now = ', '.join(f'{name}={value}' for name, value in plan.items() if before.get(name) != value)
            raise ValueError(f'{path.parent} has shards of other images or options (now {now}): give an empty folder.')
        return
    if any(path.parent.glob('*.tar')):
        raise ValueError(f'{path.parent} has shards that this program did not write: give an empty folder.')
    path.write_text(json.dumps(plan))


def _write_shard(path: Path, samples: Iterable[tuple[str, dict]]) -> list[str]:
    unfinished, skipped = path.with_suffix('.part'), []
    with tarfile.open(unfinished, 'w') as shard:
        for name, sample in samples:
            try:
                announce(sample['img_path'])
                data = Path(sample['img_path']).read_bytes()
                refuse_incomplete(data)
                if not name.endswith(_CHANNELS):
                    header_size(*read_from(data), MAX_PIXELS)
            except (UndecodableImageError, FileNotFoundError, PermissionError) as error:
                skipped.append(f'{sample["img_path"]}: {error}')
                continue
            for member, content in _members(name, data, sample.get('gt_label')):
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))
    os.replace(unfinished, path)
    return skipped


def _members(name: str, data: bytes, label: int | None) -> Iterator[tuple[str, bytes]]:
    yield name, data
    if label is not None:
        yield f'{os.path.splitext(name)[0]}.cls', str(label).encode()
