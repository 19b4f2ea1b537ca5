"""The normalisation, and whether red and blue keep their places."""

import cv2
import numpy as np
import pytest
import torch
from bundled import CIFAR
from doctor_levels import IMAGENET, levels
from torch.utils.data import DataLoader

from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.doctor.colours import judge_colours, look_at_colours
from dino_plugin.doctor.normalisation import blue_first, judge_normalisation, judge_released_normalisation


def test_the_normalisation_of_a_released_network_is_told():
    timm = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    assert levels(judge_released_normalisation([127.5] * 3, [127.5] * 3, timm)) == {"the network's normalisation": 'ok'}
    (wrong,) = judge_released_normalisation(*IMAGENET, timm)
    assert wrong.level == 'warning' and 'mean=[128, 128, 128]' in wrong.remedy.replace('127', '128')


@pytest.mark.parametrize(
    ('mean', 'measured', 'expected'),
    [
        ([104, 116, 124], [127, 123, 114], True),  # ImageNet's, turned, on CIFAR
        ([124, 116, 104], [90, 110, 130], False),  # ImageNet's on pictures of the sea
        ([104, 116, 124], [90, 110, 130], True),
        ([104, 116, 124], [105, 115, 125], False),  # measured on them
        ([130, 110, 90], [90, 110, 130], True),  # measured by hand, blue first
        ([130, 110, 90], [128, 111, 93], False),
        ([128, 128, 128], [127, 123, 114], False),
    ],
)
def test_a_mean_that_is_written_blue_first_is_noticed(mean, measured, expected):
    assert blue_first(mean, measured) == expected
    said = judge_normalisation((measured, [58.0] * 3), mean, [58.0] * 3)
    assert (said[0].level == 'warning') == expected
    if expected:
        assert f'mean={mean[::-1]}' in said[0].remedy


class BlueFirst(LoadImage):
    """As cv2.imread."""

    def transform(self, results):
        results = super().transform(results)
        return results | dict(img=results['img'][..., ::-1].copy())


def correlation(folder, load, preprocessor, **crop):
    pipeline = [load, MultiCropTransform(global_size=32, local_size=16, num_local=0, **crop), PackViews()]
    dataset = SeededDataset(ImageDataset(data_root=str(folder), pipeline=pipeline))
    return look_at_colours(DataLoader(dataset, 4, collate_fn=multi_crop_collate), preprocessor)


def test_blue_before_red_is_told_by_the_pixels_whatever_the_normalisation():
    torch.manual_seed(0)
    for split in ('worker', 'decode'):
        assert correlation(CIFAR, LoadImage(), ViewPreprocessor(), split=split) > 0.7
    for preprocessor in (ViewPreprocessor(), ViewPreprocessor(mean=[10, 128, 240], std=[70, 60, 50])):
        found = correlation(CIFAR, BlueFirst(), preprocessor)
        assert found < -0.7
    assert levels(judge_colours(found)) == {'red and blue': 'warning'}
    assert levels(judge_colours(0.9)) == {'red and blue': 'ok'} and judge_colours(0.1) == judge_colours(None) == []


def test_images_without_colour_or_with_a_damaged_file_raise_no_alarm(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((40, 40, 3), 40 * number, np.uint8))
    (tmp_path / '9.png').write_bytes(b'')
    assert correlation(tmp_path, LoadImage(), ViewPreprocessor()) is None
