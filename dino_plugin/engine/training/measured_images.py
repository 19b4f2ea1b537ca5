"""Whether two looks at a network measured on the same images."""

import hashlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from dino_plugin.data.sources.member_paths import status_of
from dino_plugin.evaluation.scorecard.data import Card


def hash_of_card(card: Card) -> str:
    """A hash of the names, sizes and classes of all files that are measured on.

    Of a path the folder and the name count, so a copy of the images elsewhere is the same. A file in a store has no
    size here, one in a shard that of the shard.
    """
    samples = chain(card.images, *(card.labelled or ()), *(card.pairs or ()))
    files: Iterable[tuple] = chain(
        ((sample.get('img_path'), sample.get('gt_label')) for sample in samples),
        ((path, None) for each in chain(card.objects, card.class_masks) for path in (each.path, each.mask_path)),
        ((path, None) for clip in card.clips for path in chain(clip.frames, clip.masks)),
    )
    digest = hashlib.sha256()
    for path, label in files:
        status = status_of(str(path)) if path else None
        digest.update(f'{Path(str(path)).parts[-2:]} {status and status.st_size} {label}\n'.encode())
    return digest.hexdigest()[:16]
