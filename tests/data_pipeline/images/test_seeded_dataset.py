"""Repeatable samples; files that cannot be decoded."""

import gc
import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_images import claiming
from image_folders import CIFAR, PICTURES, add_noise, copy_images, load
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.data.images.decoding import UndecodableImageError
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.data.images.seeded_dataset import SeededDataset


class TestSeeds:
    def dataset(self) -> SeededDataset:
        return SeededDataset(ImageDataset(CIFAR / 'cat', pipeline=[load, add_noise], indices=40))

    @pytest.mark.parametrize('num_workers', [1, 2])
    def test_the_same_keys_give_the_same_samples_whatever_worker_runs_them(self, num_workers):
        def samples(workers: int) -> list[tuple]:
            dataset = self.dataset()
            sampler = ResumableSampler(dataset, seed=1)
            loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=list)
            return [(item['sample_idx'], item['noise']) for batch in loader for item in batch]

        assert samples(num_workers) == samples(0)

    def test_a_key_gives_the_same_sample_again_and_another_seed_another_one(self):
        dataset = self.dataset()
        assert dataset[3, 77]['noise'] == dataset[3, 77]['noise'] != dataset[3, 78]['noise']

    def test_neighbouring_seeds_give_unrelated_numbers_in_all_three_generators(self):
        dataset = self.dataset()
        drawn = np.array([dataset[0, seed]['noise'] for _, seed in ResumableSampler(range(300), seed=0)])
        assert np.abs(drawn.mean(axis=0) - 0.5).max() < 0.07  # four standard deviations of 300 draws
        assert np.abs(np.corrcoef(drawn[1:].T, drawn[:-1].T) - np.eye(6)).max() < 0.25

    def test_all_bits_of_a_seed_count_for_every_generator(self):
        dataset = self.dataset()
        low, high = dataset[0, 5]['noise'], dataset[0, 5 + 2**62]['noise']
        assert all(one != other for one, other in zip(low, high, strict=True))

    def test_numpy_integers_are_seeds_too(self):
        assert self.dataset()[0, np.int64(5)]['noise'] == self.dataset()[0, 5]['noise']

    def test_the_generators_of_the_main_process_go_on_undisturbed(self):
        def numbers(dataset: SeededDataset | None) -> tuple:
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
            if dataset is not None:
                dataset[0, 123]
            return random.random(), np.random.rand(), torch.rand(3).tolist()

        assert numbers(self.dataset()) == numbers(None)

    def test_they_are_put_back_after_an_error_too(self):
        def fail(results: dict) -> dict:
            raise KeyError('a mistake in a transform')

        dataset = SeededDataset(ImageDataset(CIFAR / 'cat', pipeline=[fail], indices=4))
        before = torch.get_rng_state()
        with pytest.raises(KeyError):
            dataset[0, 5]
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_plain_index_seeds_nothing(self):
        dataset = self.dataset()
        assert dataset[3]['sample_idx'] == 3
        assert dataset[3]['noise'] != dataset[3]['noise']

    def test_a_resumed_pass_sees_the_samples_of_the_unbroken_one(self):
        def samples(num_skipped: int) -> list[tuple]:
            dataset = self.dataset()
            sampler = ResumableSampler(dataset, seed=1)
            sampler.set_epoch(2)
            sampler.skip(num_skipped)
            loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=2, collate_fn=list)
            return [(item['sample_idx'], item['noise']) for batch in loader for item in batch]

        assert samples(24) == samples(0)[24:]


class TestWrapping:
    def test_a_config_is_built_by_mmengines_registry(self):
        images = dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR), with_labels=True)
        dataset = DATASETS.build(dict(type='dino_plugin.SeededDataset', dataset=images))
        assert isinstance(dataset, SeededDataset)
        assert len(dataset) == 1000
        assert len(dataset.metainfo['classes']) == 10

    def test_a_dotted_path_is_built_too(self):
        dataset = SeededDataset(dict(type='torchvision.datasets.ImageFolder', root=str(CIFAR)))
        image, label = dataset[0, 1]
        assert (image.size, label) == ((32, 32), 0)
        assert dataset.metainfo == {}

    def test_full_init_reaches_the_wrapped_dataset(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        assert len(SeededDataset(ImageDataset(tmp_path, lazy_init=True))) == 1

    def test_what_is_no_dataset_is_refused(self):
        with pytest.raises(TypeError, match='__getitem__'):
            SeededDataset(42)

    def test_an_empty_dataset_is_refused(self):
        with pytest.raises(ValueError, match='empty'):
            SeededDataset([])

    @pytest.mark.parametrize('share', [-0.1, 1.5])
    def test_a_share_outside_its_range_is_refused(self, share):
        with pytest.raises(ValueError, match='max_undecodable'):
            SeededDataset([1], max_undecodable=share)


CORRUPT = {
    'truncated.jpg': lambda picture: picture[: len(picture) // 2],
    'empty.jpg': lambda picture: b'',
    'page.jpg': lambda picture: b'<!DOCTYPE html><html></html>',
}


class TestUndecodableFiles:
    def folder(self, tmp_path: Path, *corrupt: str, num_good: int = 30) -> Path:
        copy_images(tmp_path, *(f'{number:03}.jpg' for number in range(num_good)))
        for name in corrupt:
            (tmp_path / name).write_bytes(CORRUPT[name](PICTURES[0].read_bytes()))
        return tmp_path

    def seeded(self, folder: Path, **options) -> SeededDataset:
        return SeededDataset(ImageDataset(folder, pipeline=[load, add_noise]), **options)

    def run(self, dataset: SeededDataset, num_epochs: int = 2, num_workers: int = 2) -> list[list[str]]:
        sampler = ResumableSampler(dataset, seed=0)
        loader = DataLoader(
            dataset,
            batch_size=4,
            sampler=sampler,
            num_workers=num_workers,
            collate_fn=list,
            persistent_workers=num_workers > 0,
        )
        epochs = []
        for epoch in range(num_epochs):
            sampler.set_epoch(epoch)
            epochs.append([Path(item['img_path']).name for batch in loader for item in batch])
        return epochs

    def test_they_are_replaced_logged_once_and_counted_over_epochs_and_workers(self, tmp_path, log):
        dataset = self.seeded(self.folder(tmp_path, *CORRUPT), max_undecodable=0.1)
        epochs = self.run(dataset)
        assert [len(names) for names in epochs] == [33, 33]
        for names in epochs:
            assert set(names) == {f'{number:03}.jpg' for number in range(30)}  # every good image, some of them again
        assert dataset.num_undecodable == 3
        assert dataset.undecodable_paths == sorted(str(tmp_path / name) for name in CORRUPT)
        for name in CORRUPT:
            (line,) = (line for line in log().splitlines() if str(tmp_path / name) in line)
            assert 'cannot decode' in line
        assert 'HTML' in log()

    def test_the_replacement_depends_on_the_key_only(self, tmp_path):
        self.folder(tmp_path, 'truncated.jpg')
        keys = [(30, seed) for seed in range(20)]
        assert ImageDataset(tmp_path).get_data_info(30)['img_path'].endswith('truncated.jpg')
        first, second = self.seeded(tmp_path), self.seeded(tmp_path)
        _ = second[4, 9]
        taken = [(item['img_path'], item['noise']) for item in map(first.__getitem__, keys)]
        assert taken == [(item['img_path'], item['noise']) for item in map(second.__getitem__, keys)]
        assert len({path for path, _ in taken}) > 5

    def test_a_plain_index_is_replaced_the_same_way_every_time(self, tmp_path):
        dataset = self.seeded(self.folder(tmp_path, 'truncated.jpg'))
        assert dataset[30]['img_path'] == dataset[30]['img_path']

    @pytest.mark.parametrize('num_workers', [0, 2])
    def test_too_many_stop_the_run_with_the_list(self, tmp_path, monkeypatch, num_workers):
        # the seconds that PyTorch gives each worker to end after an error, twice five otherwise
        monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.2)
        dataset = self.seeded(self.folder(tmp_path, *CORRUPT), max_undecodable=0.07)  # 2 of 33
        try:
            self.run(dataset, num_workers=num_workers)
        except RuntimeError as error:
            message = str(error)
        gc.collect()  # the loader lives in the traceback: end its workers here, not in another test
        for name in CORRUPT:
            assert str(tmp_path / name) in message
        assert 'max_undecodable=0.07' in message
        assert 'Repair or remove' in message

    @pytest.mark.parametrize('num_workers', [0, 1])
    def test_a_pipe_and_a_claim_of_many_pixels_are_replaced_too(self, tmp_path, num_workers):
        self.folder(tmp_path, num_good=5)
        (tmp_path / '001.jpg').unlink()
        os.mkfifo(tmp_path / '001.jpg')
        (tmp_path / '003.jpg').write_bytes(claiming('JPEG', 30_000, 30_000))
        (tmp_path / 'list.txt').write_text('\n'.join(f'{number:03}.jpg' for number in range(5)))
        listed = ImageDataset(tmp_path, 'list.txt', pipeline=[load, add_noise])
        dataset = SeededDataset(listed, max_undecodable=0.5)
        assert set(self.run(dataset, num_workers=num_workers)[0]) == {'000.jpg', '002.jpg', '004.jpg'}
        assert dataset.undecodable_paths == [f'{tmp_path}/001.jpg', f'{tmp_path}/003.jpg']

    def test_a_pipe_in_another_packages_dataset_is_replaced_instead_of_waited_for(self, tmp_path):
        self.folder(tmp_path / 'class', num_good=5)
        dataset = SeededDataset(dict(type='torchvision.datasets.ImageFolder', root=str(tmp_path)))
        (tmp_path / 'class/002.jpg').unlink()
        os.mkfifo(tmp_path / 'class/002.jpg')  # since the folder was listed
        assert dataset[2, 0][0].size == (32, 32)
        assert dataset.undecodable_paths == [f'{tmp_path}/class/002.jpg']

    def test_one_bad_file_does_not_stop_a_small_dataset(self, tmp_path):
        dataset = self.seeded(self.folder(tmp_path, 'truncated.jpg', num_good=5), max_undecodable=0.01)
        assert len(self.run(dataset, num_workers=1)[0]) == 6

    def test_zero_tolerates_none(self, tmp_path):
        dataset = self.seeded(self.folder(tmp_path, 'truncated.jpg', num_good=5), max_undecodable=0)
        with pytest.raises(RuntimeError, match=r'truncated\.jpg'):
            dataset[5, 0]

    def test_a_dataset_of_nothing_but_bad_files_ends(self, tmp_path):
        dataset = self.seeded(self.folder(tmp_path, *CORRUPT, num_good=0), max_undecodable=1.0)
        with pytest.raises(RuntimeError, match='one after the other'):
            dataset[0, 0]

    def test_a_file_that_vanishes_is_replaced(self, tmp_path):
        dataset = self.seeded(self.folder(tmp_path, num_good=5))
        (tmp_path / '002.jpg').unlink()
        assert dataset[2, 0]['img_path'] != str(tmp_path / '002.jpg')
        assert dataset.undecodable_paths == [str(tmp_path / '002.jpg')]

    @pytest.mark.parametrize(
        'error', [ValueError('wrong argument'), TypeError('no'), AssertionError('shape'), OSError(24, 'too many files')]
    )
    def test_mistakes_and_an_exhausted_machine_are_not_taken_for_bad_files(self, error):
        def fail(results: dict) -> dict:
            raise error

        dataset = SeededDataset(ImageDataset(CIFAR / 'cat', pipeline=[fail], indices=4))
        with pytest.raises(type(error)):
            dataset[0, 0]
        assert dataset.num_undecodable == 0

    @pytest.mark.parametrize('name', CORRUPT)
    def test_pillow_based_datasets_are_served(self, tmp_path, name):
        self.folder(tmp_path / 'class', name, num_good=5)
        dataset = SeededDataset(dict(type='torchvision.datasets.ImageFolder', root=str(tmp_path)))
        bad = next(index for index, (path, _) in enumerate(dataset.dataset.samples) if path.endswith(name))
        assert dataset[bad, 0][0].size == (32, 32)
        assert dataset.undecodable_paths == [str(tmp_path / 'class' / name)]

    def test_a_broken_png_is_recognised_with_pillow(self, tmp_path):
        self.folder(tmp_path / 'class', num_good=5)
        buffer = io.BytesIO()
        Image.open(PICTURES[0]).save(buffer, 'PNG')
        for number, position in enumerate((20, 45, 300)):
            broken = bytearray(buffer.getvalue())
            broken[position : position + 8] = b'\xff' * 8
            (tmp_path / f'class/x{number}.png').write_bytes(broken)
        dataset = SeededDataset(dict(type='torchvision.datasets.ImageFolder', root=str(tmp_path)), max_undecodable=0.5)
        for index in range(len(dataset)):
            assert dataset[index, 0][0].size == (32, 32)
        assert dataset.num_undecodable == 3

    @pytest.mark.parametrize('name', CORRUPT)
    def test_mmcvs_loader_is_served(self, tmp_path, name):
        transforms = pytest.importorskip('mmcv.transforms', reason='mmcv is not installed')
        self.folder(tmp_path, name, num_good=5)
        dataset = SeededDataset(ImageDataset(tmp_path, pipeline=[transforms.LoadImageFromFile()]))
        if name != 'truncated.jpg' or decode_with_opencv_refuses_truncation():
            assert dataset[5, 0]['img_path'] != str(tmp_path / name)
            assert dataset.num_undecodable == 1

    def test_a_dataset_that_knows_no_paths_is_counted_by_number(self):
        class Numbers:
            def __len__(self) -> int:
                return 200

            def __getitem__(self, index: int) -> int:
                if index == 7:
                    raise UndecodableImageError('broken')
                return index

        dataset = SeededDataset(Numbers())
        assert dataset[7, 0] != 7
        assert dataset.undecodable_paths == ['sample 7']


def decode_with_opencv_refuses_truncation() -> bool:
    import cv2

    picture = PICTURES[0].read_bytes()
    return cv2.imdecode(np.frombuffer(picture[: len(picture) // 2], np.uint8), cv2.IMREAD_COLOR) is None
