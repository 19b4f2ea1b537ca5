"""Red and blue: whether the views keep the order that the channels have in the files."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from dino_plugin.data.images.decoding import UndecodableImageError, read_image
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.doctor.findings import Finding

SAMPLE = 64  # images that are compared
LEAST_COLOUR = 2.0  # deviation of red minus blue over the images, in levels, below which they have no colour
TOLD = 0.4  # correlation from which on the order is told; colour jitter and crops of 64 images leave 0.8 and more


def look_at_colours(loader: DataLoader, prepare: Callable[[Any, bool], dict]) -> float | None:
    """Correlation, over images, of red minus blue in the file and in the views that the network gets.

    It is near 1 if the first channel of the views is red, near -1 if it is blue, whatever the normalisation.

    Args:
        loader: Of the training, whose data set names files; its sampler is not used.
        prepare: The model's preprocessor of a batch.

    Returns:
        The correlation; None if the views have other channels, or the images no colour.
    """
    dataset = loader.dataset
    assert isinstance(dataset, SeededDataset) and loader.collate_fn is not None
    number, in_files, samples = min(SAMPLE, dataset.num_images), [], []
    for place in (dataset.num_images * step // number for step in range(number)):
        try:
            pixels = read_image(dataset.path_of(place)).astype(np.float32)
        except (UndecodableImageError, OSError):
            continue
        in_files.append(float((pixels[..., 0] - pixels[..., 2]).mean()))
        samples.append(dataset[(place, place)])
    if len(in_files) < 3 or np.std(in_files) < LEAST_COLOUR:
        return None
    views = prepare(loader.collate_fn(samples), True)['views'].global_views.float()
    in_views = (views[:, :, 0] - views[:, :, 2]).mean((0, 2, 3)).cpu() if views.shape[2] == 3 else None
    if in_views is None or not float(in_views.std()):
        return None
    return float(np.corrcoef(in_files, in_views.numpy())[0, 1])


def judge_colours(correlation: float | None) -> list[Finding]:
    """The order of the channels, which should be that of the files; nothing is said where it cannot be told."""
    if correlation is None or abs(correlation) < TOLD:
        return []
    found = f'red minus blue of the files and of their views correlates by {correlation:.2f}'
    if correlation > 0:
        return [Finding('ok', 'red and blue', found)]
    remedy = "blue comes first: dino_plugin.LoadImage, or channel_order='rgb' only for images that are RGB"
    return [Finding('warning', 'red and blue', f'{found}; healthy is above {TOLD}', remedy)]
