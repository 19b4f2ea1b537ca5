"""Views arrive on the device, channels first and normalised; whatever else arrives is refused with a cure."""

import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.dataset import pseudo_collate
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import image_collate, multi_crop_collate
from dino_plugin.data.preprocessor import ViewPreprocessor

PICTURES = [np.array(Image.open(path)) for path in sorted(CIFAR.glob('*/*.jpg'))[::125]]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def samples() -> list[tuple]:
    """Two global views and three smaller local ones of each image."""
    return [
        (torch.from_numpy(np.stack([image, 255 - image])), torch.from_numpy(np.stack([image[:16, :12]] * 3)))
        for image in PICTURES
    ]


def expected(image: np.ndarray) -> torch.Tensor:
    return normalize(to_tensor(image.copy()), MEAN, STD)


def test_blocks_become_what_torchvision_makes_of_the_same_pixels():
    views = ViewPreprocessor()(multi_crop_collate(samples()))['views']
    assert isinstance(views, ViewBatch)
    for n, image in enumerate(PICTURES):
        assert torch.allclose(views.global_views[0, n], expected(image), atol=1e-5)
        assert torch.allclose(views.global_views[1, n], expected(255 - image), atol=1e-5)
        assert torch.allclose(views.local_views[2, n], expected(image[:16, :12]), atol=1e-5)


def test_views_and_batch_merge_without_a_copy_into_images_with_channels_last_in_memory():
    views = ViewPreprocessor()(multi_crop_collate(samples()))['views']
    for block in (views.global_views, views.local_views):
        assert block.dtype == torch.float32
        merged = block.flatten(0, 1)
        assert merged.data_ptr() == block.data_ptr()
        assert merged.is_contiguous(memory_format=torch.channels_last)


def test_the_bytes_are_left_as_they_were():
    batch = multi_crop_collate(samples())
    before = batch.global_views.clone()
    ViewPreprocessor()(batch)
    assert torch.equal(batch.global_views, before)


def test_no_local_views_stay_none():
    batch = multi_crop_collate([(global_block, None) for global_block, _ in samples()])
    assert ViewPreprocessor()(batch)['views'].local_views is None


def test_mean_and_deviation_are_used():
    batch = multi_crop_collate(samples())
    views = ViewPreprocessor(mean=[10, 20, 30], std=[1, 2, 4])(batch)['views'].global_views
    pixels = torch.from_numpy(PICTURES[0]).float()
    assert torch.allclose(views[0, 0, 2], (pixels[..., 2] - 30) / 4)
    assert torch.allclose(views[0, 0, 0], pixels[..., 0] - 10)


def test_normalised_views_of_other_libraries_pass_unchanged():
    views = [torch.randn(3, 8, 8) for _ in range(4)]
    batch = multi_crop_collate([(views, 0, 'a.jpg'), (views[::-1], 1, 'b.jpg')])
    prepared = ViewPreprocessor()(batch)['views']
    assert torch.equal(prepared.global_views, batch.global_views)
    assert torch.equal(prepared.local_views, batch.local_views)


def test_evaluation_images_are_normalised_and_keep_their_labels():
    batch = image_collate([(image, n, f'{n}.jpg') for n, image in enumerate(PICTURES)])
    prepared = ViewPreprocessor()(batch)
    assert set(prepared) == {'images', 'labels'}
    assert prepared['labels'].tolist() == list(range(len(PICTURES)))
    for n, image in enumerate(PICTURES):
        assert torch.allclose(prepared['images'][n], expected(image), atol=1e-5)


def test_a_batch_that_a_loader_turned_into_a_list_is_still_an_evaluation_batch():
    batch = list(image_collate([(image, n, f'{n}.jpg') for n, image in enumerate(PICTURES)]))
    assert ViewPreprocessor()(batch)['images'].shape == (len(PICTURES), 3, 32, 32)


def test_training_and_evaluation_mode_prepare_alike():
    batch = multi_crop_collate(samples())
    preprocessor = ViewPreprocessor()
    training, evaluation = (preprocessor(batch, training)['views'] for training in (True, False))
    assert torch.equal(training.global_views, evaluation.global_views)


@pytest.mark.parametrize(
    'batch',
    [
        pseudo_collate(samples()),
        dict(inputs=torch.zeros(2, 3, 8, 8)),
        torch.zeros(2, 3, 8, 8),
        [torch.zeros(2, 3, 8, 8)] * 2,
        None,
    ],
    ids=['pseudo_collate', 'dict', 'tensor', 'list', 'none'],
)
def test_other_batches_are_refused_and_the_collate_function_is_named(batch):
    with pytest.raises(TypeError, match=r"collate_fn=dict\(type='dino_plugin\.multi_crop_collate'\)"):
        ViewPreprocessor()(batch)


@pytest.mark.parametrize(
    'views', [torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 4, 8, 8, 3, dtype=torch.int64)]
)
def test_integers_of_another_layout_or_type_are_refused(views):
    with pytest.raises(TypeError, match='channels last'):
        ViewPreprocessor()(ViewBatch(views))


@pytest.mark.parametrize('arguments', [dict(mean=[0, 0]), dict(std=[1, 1, 0])])
def test_impossible_statistics_are_refused(arguments):
    with pytest.raises(ValueError, match='std > 0'):
        ViewPreprocessor(**arguments)


def test_the_statistics_are_not_part_of_a_checkpoint():
    assert ViewPreprocessor().state_dict() == {}


def test_views_go_to_the_device_of_the_model():
    preprocessor = ViewPreprocessor().to('meta')
    views = preprocessor(multi_crop_collate(samples()))['views']
    assert views.global_views.device.type == views.local_views.device.type == 'meta'
