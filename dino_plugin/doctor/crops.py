"""How much of an image a global view shows, by the boxes that the transform draws."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from dino_plugin.data.images.decoding import UndecodableImageError, image_size
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.views.crop_boxes import NUM_GLOBAL
from dino_plugin.doctor.findings import Finding

SAMPLE = 256  # images whose boxes are drawn
HEALTHY = '47 % (SimCLR) to 75 % (CAPI)'  # of square images, by the published ranges (0.08, 1) and (0.6, 1)
SMALL, TINY = 0.25, 0.1  # shares below which it is told, and warned of


def crops_of(dataset: Any) -> Iterator[MultiCrop]:
    """The `MultiCrop` of each pipeline of a data set; other transforms draw boxes that nobody can ask for."""
    for pipeline in getattr(dataset, 'pipelines', None) or [getattr(dataset, 'pipeline', None)]:
        for transform in getattr(pipeline, 'transforms', ()):
            if isinstance(crop := getattr(transform, 'multi_crop', None), MultiCrop):
                yield crop


def look_at_crops(crop: MultiCrop, paths: Sequence[str]) -> tuple[float, float]:
    """Mean share of an image that a global view shows, and how many times its pixels are enlarged, by rows.

    Args:
        crop: Its random numbers are those of `random`.
        paths: Of the images; the headers of a sample are read, and files that cannot be read are left out.
    """
    shares, enlarged = [], []
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        try:
            rows, columns = image_size(path)
        except (UndecodableImageError, OSError):
            continue
        for view in islice(crop.draw(rows, columns), NUM_GLOBAL):
            shares.append(view.box.rows * view.box.columns / (rows * columns))
            enlarged.append(crop.global_size[0] / view.box.rows)
    return sum(shares) / max(1, len(shares)), sum(enlarged) / max(1, len(enlarged))


def judge_crops(share: float, enlarged: float) -> list[Finding]:
    """Two small views of an image have little in common, and nothing to agree on."""
    if not share:
        return []  # no file could be read, which another finding tells
    found = f'a global view shows {share:.1%} of an image'
    if share >= SMALL:
        return [Finding('ok', 'crops', found)]
    found += f', healthy is {HEALTHY}' + (f'; it is enlarged {enlarged:.0f} times' if enlarged > 1 else '')
    remedy = 'global_scale=(0.25, 1.0) in MultiCrop; of large scenes, images cut into tiles'
    return [Finding('warning' if share < TINY else 'notice', 'crops', found, remedy)]
