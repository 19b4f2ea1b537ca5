"""Batches hold exactly the views of their samples, in the documented order, whichever ecosystem made them."""

import numpy as np
import pytest
import torch
from bundled import CIFAR
from PIL import Image
from torch.utils.data import DataLoader
from view_samples import block, block_samples, list_samples

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import image_collate, multi_crop_collate
from dino_plugin.data.multi_crop import MultiCrop

PICTURES = sorted(CIFAR.glob('*/*.jpg'))[::100]


class TestBlocks:
    def test_views_come_first_and_the_batch_second(self):
        samples = block_samples()
        batch = multi_crop_collate(samples)
        assert isinstance(batch, ViewBatch)
        for n, (global_block, local_block) in enumerate(samples):
            assert torch.equal(batch.global_views[:, n], global_block)
            assert torch.equal(batch.local_views[:, n], local_block)
        assert batch.global_views.shape == (2, 5, 14, 12, 3)
        assert batch.local_views.shape == (6, 5, 8, 6, 3)

    def test_without_local_views_there_is_no_local_block(self):
        assert multi_crop_collate(block_samples(num_local=0)).local_views is None

    def test_the_batch_is_written_once_views_and_batch_change_places_by_stride(self):
        batch = multi_crop_collate(block_samples())
        assert batch.global_views.transpose(0, 1).is_contiguous()

    def test_from_a_worker_the_batch_arrives_in_shared_memory(self):
        samples = block_samples()
        (batch,) = DataLoader(samples, batch_size=5, num_workers=1, collate_fn=multi_crop_collate)
        assert isinstance(batch, ViewBatch)
        assert batch.global_views.is_shared()
        assert torch.equal(batch.local_views, multi_crop_collate(samples).local_views)

    def test_the_blocks_of_multi_crop_are_understood(self):
        multi_crop = MultiCrop(global_size=32, local_size=16, num_local=3)
        images = [np.asarray(Image.open(path)) for path in PICTURES]
        batch = multi_crop_collate([multi_crop.blocks(image) for image in images])
        assert batch.global_views.shape == (2, len(images), 32, 32, 3)
        assert batch.local_views.shape == (3, len(images), 16, 16, 3)

    def test_a_single_global_view_is_too_few(self):
        with pytest.raises(ValueError, match=r'1 view .*MultiCrop'):
            multi_crop_collate([(block(1, 8, 8, 0), None)] * 2)

    def test_a_global_and_a_local_view_are_enough(self):
        batch = multi_crop_collate([(block(1, 8, 8, 0), block(1, 4, 4, 1))] * 2)
        assert batch.global_views.shape[0] == batch.local_views.shape[0] == 1

    def test_some_samples_without_local_views_are_refused(self):
        with pytest.raises(ValueError, match='1 of 3 samples have no local views'):
            multi_crop_collate([*block_samples(2), (block(2, 14, 12, 0), None)])

    @pytest.mark.parametrize('kind', ['global', 'local'])
    def test_different_sizes_in_one_batch_are_named(self, kind):
        odd = (block(2, 16, 16, 0), block(6, 8, 6, 0)) if kind == 'global' else (block(2, 14, 12, 0), block(6, 9, 9, 0))
        with pytest.raises(ValueError, match=f'{kind} views of different shapes .*{odd[kind == "local"].shape[1]}'):
            multi_crop_collate([*block_samples(2), odd])


class TestLists:
    @pytest.mark.parametrize(('num_global', 'num_local'), [(2, 4), (1, 3), (2, 0), (3, 1)])
    def test_the_first_views_are_global_and_the_rest_local(self, num_global, num_local):
        samples = list_samples(num_global=num_global, num_local=num_local)
        batch = multi_crop_collate(samples, num_global=num_global)
        for n, (views, _, _) in enumerate(samples):
            assert torch.equal(batch.global_views[:, n], torch.stack(views[:num_global]))
            if num_local:
                assert torch.equal(batch.local_views[:, n], torch.stack(views[num_global:]))
        assert (batch.local_views is None) == (num_local == 0)

    def test_samples_of_views_and_label_only_are_served(self):
        samples = list_samples()
        batch = multi_crop_collate([(views, label) for views, label, _ in samples])
        assert torch.equal(batch.global_views, multi_crop_collate(samples).global_views)

    def test_from_a_worker_they_arrive_in_shared_memory(self):
        samples = list_samples()
        (batch,) = DataLoader(samples, batch_size=5, num_workers=1, collate_fn=multi_crop_collate)
        assert batch.global_views.is_shared()
        assert torch.equal(batch.local_views, multi_crop_collate(samples).local_views)

    def test_a_single_view_is_too_few(self):
        with pytest.raises(ValueError, match=r'1 view .*multi-view'):
            multi_crop_collate(list_samples(num_global=1, num_local=0))

    @pytest.mark.parametrize('num_global', [1, 3])
    def test_a_wrong_number_of_global_views_names_sizes_and_cure(self, num_global):
        with pytest.raises(ValueError, match=r'3, 14, 12.*num_global|3, 8, 6.*num_global'):
            multi_crop_collate(list_samples(), num_global=num_global)

    @pytest.mark.parametrize('num_global', [0, 7])
    def test_an_impossible_number_of_global_views_is_refused(self, num_global):
        with pytest.raises(ValueError, match='expected 1 to 6'):
            multi_crop_collate(list_samples(), num_global=num_global)

    def test_samples_with_different_numbers_of_views_are_refused(self):
        with pytest.raises(ValueError, match=r'\[4, 6\]'):
            multi_crop_collate([*list_samples(2), *list_samples(2, num_local=2)])


@pytest.mark.parametrize(
    'sample',
    [
        dict(inputs=torch.zeros(3, 8, 8)),
        (torch.zeros(3, 8, 8), 0, 'one_view.jpg'),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, 0, 'bytes.jpg'),
        (Image.new('RGB', (8, 8)), 0, 'untransformed.jpg'),
        ([], 0, 'no_views.jpg'),
        (torch.zeros(2, 8, 8, 3), None),
        'a string',
    ],
)
def test_samples_of_another_form_are_refused_with_a_cure(sample):
    with pytest.raises(TypeError, match=r'PackViews.*ToTensor and Normalize'):
        multi_crop_collate([sample])


def test_no_samples_at_all_are_refused():
    with pytest.raises(TypeError):
        multi_crop_collate([])


class TestImages:
    @pytest.mark.parametrize('convert', [np.asarray, torch.as_tensor])
    def test_images_labels_and_paths_keep_their_order(self, convert):
        pixels = [block(1, 8, 6, n)[0] for n in range(4)]
        images, labels, paths = image_collate([(convert(pixels[n].numpy()), n, f'{n}.jpg') for n in range(4)])
        assert torch.equal(images, torch.stack(pixels))
        assert labels.tolist() == [0, 1, 2, 3]
        assert paths == ['0.jpg', '1.jpg', '2.jpg', '3.jpg']

    def test_different_sizes_are_refused(self):
        with pytest.raises(ValueError, match='resize and crop'):
            image_collate([(block(1, 8, 6, 0)[0], 0, ''), (block(1, 6, 8, 0)[0], 0, '')])
