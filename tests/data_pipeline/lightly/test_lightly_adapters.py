"""The contracts of Lightly's users, without Lightly: collate functions, batches both ways, a clear error."""

import sys

import pytest
import torch
from view_samples import block_samples, list_samples

from dino_plugin.data.collate import (
    MultiViewCollate,
    multi_crop_collate,
    multi_view_collate,
    views_from_lightly,
    views_to_lightly,
)
from dino_plugin.data.lightly.adapters import LightlyDataset


class TestMultiViewCollate:
    def test_each_view_is_stacked_over_the_batch(self):
        samples = list_samples()
        views, labels, filenames = MultiViewCollate()(samples)
        for number, view in enumerate(views):
            assert torch.equal(view, torch.stack([sample[0][number] for sample in samples]))
        assert labels.tolist() == [0, 1, 2, 3, 4]
        assert labels.dtype == torch.long
        assert filenames == ['0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.jpg']

    def test_the_function_does_the_same(self):
        samples = list_samples()
        for one, other in zip(MultiViewCollate()(samples)[0], multi_view_collate(samples)[0], strict=True):
            assert torch.equal(one, other)

    def test_an_empty_batch_warns_and_stays_empty(self):
        with pytest.warns(UserWarning, match='empty batch'):
            views, labels, filenames = MultiViewCollate()([])
        assert (views, labels.tolist(), labels.dtype, filenames) == ([], [], torch.long, [])


class TestAdapters:
    def test_there_and_back_again_is_the_identity(self):
        lightly_batch = MultiViewCollate()(list_samples())
        ours = views_from_lightly(lightly_batch)
        views, labels, filenames = views_to_lightly(ours, lightly_batch[1], lightly_batch[2])
        for one, other in zip(views, lightly_batch[0], strict=True):
            assert torch.equal(one, other)
        assert torch.equal(labels, lightly_batch[1])
        assert filenames == lightly_batch[2]

    def test_the_adapter_and_the_collate_agree(self):
        samples = list_samples()
        adapted, collated = views_from_lightly(MultiViewCollate()(samples)), multi_crop_collate(samples)
        assert torch.equal(adapted.global_views, collated.global_views)
        assert torch.equal(adapted.local_views, collated.local_views)

    def test_missing_labels_and_filenames_are_filled(self):
        views, labels, filenames = views_to_lightly(multi_crop_collate(list_samples(num_local=0)))
        assert len(views) == 2
        assert labels.tolist() == [0] * 5
        assert filenames == [''] * 5

    def test_bytes_must_be_normalised_first(self):
        with pytest.raises(TypeError, match='ViewPreprocessor'):
            views_to_lightly(multi_crop_collate(block_samples()))

    def test_a_batch_of_one_view_is_refused(self):
        with pytest.raises(ValueError, match='1 view'):
            views_from_lightly(([torch.zeros(4, 3, 8, 8)], torch.zeros(4), [''] * 4))

    def test_mixed_sizes_are_refused(self):
        with pytest.raises(ValueError, match='num_global'):
            views_from_lightly(MultiViewCollate()(list_samples()), num_global=3)

    def test_all_views_may_be_global(self):
        batch = views_from_lightly(MultiViewCollate()(list_samples(num_global=3, num_local=0)), num_global=3)
        assert batch.local_views is None


def test_without_lightly_the_error_of_its_dataset_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lightly.data', None)
    with pytest.raises(ImportError, match=r'pip install "dino_plugin\[lightly\]"'):
        LightlyDataset('images')
