"""Folders, lists and class folders of real images; repeatable samples; files that cannot be decoded."""

import gc
import io
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.data.datasets import ImageDataset, LightlyDataset, SeededDataset, find_images
from dino_plugin.data.decoding import UndecodableImageError, decode_image
from dino_plugin.data.sampler import ResumableSampler

CIFAR = Path(__file__).parents[1] / 'data/cifar10_mini/test'
PICTURES = sorted(CIFAR.glob('*/*.jpg'))


def load(results: dict) -> dict:
    results['img'] = decode_image(Path(results['img_path']).read_bytes())
    return results


def add_noise(results: dict) -> dict:
    """Draws from all three generators, as a pipeline of ours, mmcv's and torchvision's transforms may."""
    results['noise'] = (random.random(), np.random.rand(), torch.rand(()).item())
    return results


def copy_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PICTURES[number], folder / name)
    return folder


def names_of(dataset: ImageDataset, root: Path) -> list[str]:
    return [str(Path(dataset.get_data_info(index)['img_path']).relative_to(root)) for index in range(len(dataset))]


def count_calls(monkeypatch, *names: str) -> dict[str, int]:
    """How often functions of `os` are called from now on."""
    calls = dict.fromkeys(names, 0)

    def counted(name: str, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return calls


@pytest.fixture
def log(tmp_path_factory, request):
    """The text that was logged, by this process and by its workers."""
    file = tmp_path_factory.mktemp('log') / 'run.log'
    MMLogger.get_instance(request.node.name, log_file=str(file))
    yield file.read_text
    MMLogger._instance_dict.pop(request.node.name)


class TestFolder:
    def test_images_of_any_depth_and_extension_are_found_in_sorted_order(self, tmp_path):
        copy_images(tmp_path, 'b/c/d.JPG', 'a.jpeg', 'b/a.jpg', 'z.tif', 'b/c.png', 'y.TIFF', 'x.bmp', 'w.WebP')
        expected = ['a.jpeg', 'b/a.jpg', 'b/c/d.JPG', 'b/c.png', 'w.WebP', 'x.bmp', 'y.TIFF', 'z.tif']
        assert names_of(ImageDataset(tmp_path), tmp_path) == expected

    def test_other_and_hidden_files_are_left_out(self, tmp_path):
        copy_images(tmp_path, 'a.jpg', '._a.jpg', '.cache/b.jpg', 'notes.txt', 'jpg', 'c.jpg.part')
        assert names_of(ImageDataset(tmp_path), tmp_path) == ['a.jpg']

    def test_the_log_says_in_one_line_how_many_were_found(self, tmp_path, log):
        copy_images(tmp_path, 'a.jpg', 'b/c.jpg', 'notes.txt')
        ImageDataset(tmp_path)
        (line,) = log().strip().splitlines()
        assert f'2 images in {tmp_path}, 1 other files ignored' in line

    def test_links_are_followed_and_loops_end(self, tmp_path):
        copy_images(tmp_path, 'outside/a.jpg', 'root/b.jpg', 'root/sub/c.jpg')
        (tmp_path / 'root/file.jpg').symlink_to(tmp_path / 'outside/a.jpg')
        (tmp_path / 'root/linked').symlink_to(tmp_path / 'outside')
        (tmp_path / 'root/sub/loop').symlink_to(tmp_path / 'root')
        (tmp_path / 'root/twice').symlink_to(tmp_path / 'outside')
        (tmp_path / 'root/broken.jpg').symlink_to(tmp_path / 'nowhere.jpg')
        root = tmp_path / 'root'
        assert names_of(ImageDataset(root), root) == ['b.jpg', 'file.jpg', 'linked/a.jpg', 'sub/c.jpg']

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere'):
            ImageDataset(tmp_path / 'nowhere')

    def test_a_file_is_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='not a folder'):
            ImageDataset(copy_images(tmp_path, 'a.jpg') / 'a.jpg')

    def test_a_folder_without_images_says_what_was_looked_for_and_what_is_there(self, tmp_path):
        copy_images(tmp_path, 'notes.txt', 'data/archive.tar', '.hidden.jpg')
        with pytest.raises(ValueError, match=r'\.jpg \.jpeg \.png \.webp \.tif \.tiff \.bmp .* 2 other files'):
            ImageDataset(tmp_path)

    def test_neither_folder_nor_list_is_refused(self):
        with pytest.raises(ValueError, match='data_root'):
            ImageDataset()

    def test_each_folder_is_listed_once_and_no_file_is_asked_for(self, monkeypatch):
        calls = count_calls(monkeypatch, 'scandir', 'stat', 'listdir')
        paths, num_others = find_images(str(CIFAR))
        assert (len(paths), num_others) == (1000, 0)
        assert calls == dict(scandir=1 + 10, stat=1, listdir=0)


class TestClassFolder:
    def test_first_level_folders_are_the_classes(self):
        dataset = ImageDataset(CIFAR, with_labels=True)
        classes = sorted(folder.name for folder in CIFAR.iterdir())
        assert dataset.metainfo['classes'] == tuple(classes)
        assert len(dataset) == len(PICTURES) == 1000
        for index in range(0, len(dataset), 50):
            item = dataset.get_data_info(index)
            assert classes[item['gt_label']] == Path(item['img_path']).parent.name

    def test_images_below_a_class_at_any_depth_belong_to_it(self, tmp_path):
        copy_images(tmp_path, 'cat/a.jpg', 'cat/more/deep/b.jpg', 'dog/c.jpg')
        dataset = ImageDataset(tmp_path, with_labels=True)
        assert [dataset.get_data_info(index)['gt_label'] for index in range(3)] == [0, 0, 1]

    def test_given_classes_decide_the_numbers(self, tmp_path):
        copy_images(tmp_path, 'cat/a.jpg', 'dog/b.jpg')
        dataset = ImageDataset(tmp_path, with_labels=True, metainfo=dict(classes=['dog', 'bird', 'cat']))
        labels = {Path(path).parent.name: label for path, label in map(_path_and_label, _items(dataset))}
        assert labels == {'cat': 2, 'dog': 0}
        assert list(dataset.metainfo['classes']) == ['dog', 'bird', 'cat']

    def test_a_folder_that_is_no_given_class_is_refused(self, tmp_path):
        copy_images(tmp_path, 'cat/a.jpg', 'dog/b.jpg')
        with pytest.raises(ValueError, match='dog'):
            ImageDataset(tmp_path, with_labels=True, metainfo=dict(classes=['cat']))

    def test_a_class_without_images_keeps_its_number_and_is_logged(self, tmp_path, log):
        copy_images(tmp_path, 'ant/a.jpg', 'cat/b.jpg')
        (tmp_path / 'bee').mkdir()
        dataset = ImageDataset(tmp_path, with_labels=True)
        assert [item['gt_label'] for item in _items(dataset)] == [0, 2]
        assert '1 classes without an image (bee)' in log()

    def test_images_beside_the_class_folders_are_refused(self, tmp_path):
        copy_images(tmp_path, 'cat/a.jpg', 'loose.jpg')
        with pytest.raises(ValueError, match=r'loose\.jpg.*with_labels=False'):
            ImageDataset(tmp_path, with_labels=True)

    def test_class_folders_without_images_are_refused(self, tmp_path):
        (tmp_path / 'cat').mkdir()
        with pytest.raises(ValueError, match='no image'):
            ImageDataset(tmp_path, with_labels=True)


class TestList:
    def write(self, folder: Path, text: str) -> Path:
        (folder / 'list.txt').write_text(text)
        return folder / 'list.txt'

    def test_lines_are_paths_relative_to_the_folder_or_absolute(self, tmp_path):
        copy_images(tmp_path, 'images/with space.jpg', 'images/b/c.jpg', 'other/d.jpg', 'images/no_extension')
        lines = f'# a comment\n\nb/c.jpg\nwith space.jpg\r\n{tmp_path}/other/d.jpg\nno_extension\n'
        dataset = ImageDataset(tmp_path / 'images', self.write(tmp_path, lines))
        assert names_of(dataset, tmp_path) == [
            'images/b/c.jpg',
            'images/with space.jpg',
            'other/d.jpg',
            'images/no_extension',
        ]

    def test_a_list_alone_is_enough_for_absolute_paths(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        assert len(ImageDataset(ann_file=self.write(tmp_path, f'{tmp_path}/a.jpg'))) == 1

    def test_a_relative_list_lies_in_the_folder(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        self.write(tmp_path, 'a.jpg')
        assert len(ImageDataset(tmp_path, 'list.txt')) == 1

    def test_labels_follow_the_last_white_space(self, tmp_path):
        copy_images(tmp_path, 'a.jpg', 'b c.jpg', 'd.jpg')
        dataset = ImageDataset(tmp_path, self.write(tmp_path, 'a.jpg 3\nb c.jpg 0\nd.jpg\t12\n'), with_labels=True)
        assert [item['gt_label'] for item in _items(dataset)] == [3, 0, 12]
        assert names_of(dataset, tmp_path) == ['a.jpg', 'b c.jpg', 'd.jpg']

    @pytest.mark.parametrize('line', ['a.jpg', 'a.jpg cat', 'a.jpg -1', '3'])
    def test_a_line_without_a_label_is_named(self, tmp_path, line):
        copy_images(tmp_path, 'a.jpg')
        with pytest.raises(ValueError, match=r'line 2 of .*with_labels=False'):
            ImageDataset(tmp_path, self.write(tmp_path, f'a.jpg 3\n{line}\n'), with_labels=True)

    def test_missing_files_are_counted_and_the_first_are_named(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        lines = 'a.jpg\n' + ''.join(f'gone/{number}.jpg\n' for number in range(8)) + 'lost.jpg\n'
        with pytest.raises(FileNotFoundError, match=r'9 of 10 files .*gone/0\.jpg.*gone/4\.jpg, …') as error:
            ImageDataset(tmp_path, self.write(tmp_path, lines))
        assert 'gone/5.jpg' not in str(error.value)

    def test_labels_that_nobody_asked_for_are_recognised(self, tmp_path):
        copy_images(tmp_path, 'a.jpg', 'b.jpg')
        with pytest.raises(FileNotFoundError, match='with_labels=True'):
            ImageDataset(tmp_path, self.write(tmp_path, 'a.jpg 0\nb.jpg 1\n'))

    def test_an_empty_list_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match='names no image'):
            ImageDataset(tmp_path, self.write(tmp_path, '# nothing\n\n'))

    def test_a_missing_list_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'gone\.txt'):
            ImageDataset(tmp_path, 'gone.txt')

    def test_checking_lists_each_folder_once_and_asks_for_no_file(self, tmp_path, monkeypatch):
        file = self.write(tmp_path, '\n'.join(map(str, PICTURES)))
        calls = count_calls(monkeypatch, 'listdir', 'scandir')
        monkeypatch.setattr(os.path, 'exists', lambda path: pytest.fail(f'asked for {path}'))
        assert len(ImageDataset(ann_file=file, lazy_init=True).load_data_list()) == 1000
        assert calls == dict(listdir=10, scandir=0)


class TestHabits:
    """mmengine's usual arguments."""

    def test_the_pipeline_runs(self):
        dataset = ImageDataset(CIFAR, pipeline=[load])
        assert np.array_equal(dataset[7]['img'], np.asarray(Image.open(PICTURES[7])))

    def test_indices_choose_a_part(self):
        assert len(ImageDataset(CIFAR, indices=10)) == 10
        chosen = ImageDataset(CIFAR, indices=[5, 900])
        assert [item['img_path'] for item in _items(chosen)] == [str(PICTURES[5]), str(PICTURES[900])]

    def test_lazy_init_reads_nothing_until_it_is_needed(self, tmp_path):
        dataset = ImageDataset(tmp_path / 'later', lazy_init=True)
        copy_images(tmp_path, 'later/a.jpg')
        assert len(dataset) == 1

    def test_a_prefix_chooses_a_folder_below_the_root(self):
        dataset = ImageDataset(CIFAR, data_prefix=dict(img_path='cat'))
        assert len(dataset) == 100
        assert names_of(dataset, CIFAR / 'cat')[0].endswith('.jpg')

    @pytest.mark.parametrize('serialize_data', [True, False])
    def test_items_are_the_same_serialised_or_not(self, serialize_data):
        dataset = ImageDataset(CIFAR, with_labels=True, serialize_data=serialize_data)
        assert dataset.get_data_info(150) == dict(img_path=str(PICTURES[150]), gt_label=1, sample_idx=150)

    def test_metainfo_is_kept(self):
        assert ImageDataset(CIFAR, metainfo=dict(source='CIFAR-10 test'), lazy_init=True).metainfo['source']

    def test_test_mode_refuses_a_pipeline_that_drops_samples(self):
        with pytest.raises(Exception, match='None'):
            ImageDataset(CIFAR, pipeline=[lambda results: None], test_mode=True)[0]

    def test_max_refetch_bounds_the_search_for_a_sample(self):
        with pytest.raises(Exception, match='2'):
            ImageDataset(CIFAR, pipeline=[lambda results: None], max_refetch=2)[0]


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


class TestLightlyAdapter:
    def test_without_lightly_the_error_names_the_cure(self, monkeypatch):
        monkeypatch.setitem(sys.modules, 'lightly.data', None)
        with pytest.raises(ImportError, match=r'pip install "dino_plugin\[lightly\]"'):
            LightlyDataset(str(CIFAR))


def decode_with_opencv_refuses_truncation() -> bool:
    import cv2

    picture = PICTURES[0].read_bytes()
    return cv2.imdecode(np.frombuffer(picture[: len(picture) // 2], np.uint8), cv2.IMREAD_COLOR) is None


def _items(dataset: ImageDataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _path_and_label(item: dict) -> tuple[str, int]:
    return item['img_path'], item['gt_label']
