"""Folders, lists and class folders of real images."""

import os
from pathlib import Path

import mmcv.transforms  # noqa: F401 - registers LoadImageFromFile
import numpy as np
import pytest
from damaged_images import claiming
from image_folders import CIFAR, PICTURES, copy_images, forbid, load
from PIL import Image

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.images.multi_pipeline_dataset import MultiPipelineDataset
from dino_plugin.data.images.user_files import expanded


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

    def test_pipes_are_no_images_and_links_in_a_circle_end(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        os.mkfifo(tmp_path / 'pipe.jpg')
        (tmp_path / 'link.jpg').symlink_to(tmp_path / 'pipe.jpg')
        (tmp_path / 'circle.jpg').symlink_to(tmp_path / 'circle.jpg')
        (tmp_path / 'folder.jpg').mkdir()
        assert names_of(ImageDataset(tmp_path), tmp_path) == ['a.jpg']

    @pytest.mark.parametrize('with_labels', [False, True])
    def test_a_folder_that_cannot_be_read_is_named_instead_of_left_out(self, tmp_path, monkeypatch, with_labels):
        copy_images(tmp_path, 'cat/a.jpg', 'dog/b.jpg', 'dog/lost/c.jpg')
        forbid(monkeypatch, tmp_path / 'dog/lost')
        with pytest.raises(PermissionError, match=r'dog/lost cannot be read: Permission denied.*chmod'):
            ImageDataset(tmp_path, with_labels=with_labels)

    def test_a_tilde_is_the_home_folder(self, tmp_path, monkeypatch):
        copy_images(tmp_path, 'my images/cat/a.jpg', 'b.jpg')
        monkeypatch.setenv('HOME', str(tmp_path))
        (tmp_path / 'list.txt').write_text('cat/a.jpg\n~/b.jpg\n')
        assert names_of(ImageDataset('~/my images'), tmp_path) == ['my images/cat/a.jpg']
        assert len(ImageDataset('~', data_prefix=dict(img_path='my images'))) == 1
        assert len(ImageDataset('/elsewhere', data_prefix=dict(img_path='~/my images'))) == 1
        listed = ImageDataset('~/my images', '~/list.txt')
        assert names_of(listed, tmp_path) == ['my images/cat/a.jpg', 'b.jpg']

    def test_a_comma_on_the_command_line_is_explained(self):
        with pytest.raises(TypeError, match=r"data_root is one path, got \['a', 'b'\].*comma"):
            expanded(['a', 'b'], 'data_root')

    def test_several_folders_follow_one_another(self, tmp_path):
        copy_images(tmp_path, 'b/cat/1.jpg', 'b/2.jpg', 'a/3.jpg', 'c/4.jpg')
        folders = [tmp_path / 'b', tmp_path / 'a']
        assert names_of(ImageDataset(folders), tmp_path) == ['b/2.jpg', 'b/cat/1.jpg', 'a/3.jpg']
        assert names_of(ImageDataset(folders[:1]), tmp_path) == names_of(ImageDataset(folders[0]), tmp_path)
        copy_images(tmp_path, 'a/cat/5.jpg')
        below = ImageDataset(folders, data_prefix=dict(img_path='cat'))
        assert names_of(below, tmp_path) == ['b/cat/1.jpg', 'a/cat/5.jpg']
        with pytest.raises(FileNotFoundError, match=r'nowhere.*one of 2: in --cfg-options a comma makes a list'):
            ImageDataset([tmp_path / 'b', tmp_path / 'nowhere'])
        for more in (dict(with_labels=True), dict(ann_file='list.txt')):
            with pytest.raises(ValueError, match='several folders are for images without labels and without a list'):
                ImageDataset(folders, **more)

    def test_an_image_of_two_folders_counts_once(self, tmp_path, log):
        copy_images(tmp_path, 'a.jpg', 'extra/b.jpg', 'extra/more/c.jpg')
        (tmp_path / 'link').symlink_to(tmp_path / 'extra')
        extra, link = tmp_path / 'extra', tmp_path / 'link'
        assert names_of(ImageDataset([tmp_path, extra]), tmp_path) == ['a.jpg', 'extra/b.jpg', 'extra/more/c.jpg']
        assert '3 images in' in log() and f'0 more images in {extra}' in log()
        assert names_of(ImageDataset([extra, tmp_path]), tmp_path) == ['extra/b.jpg', 'extra/more/c.jpg', 'a.jpg']
        assert names_of(ImageDataset([link, extra]), tmp_path) == ['link/b.jpg', 'link/more/c.jpg']
        with pytest.raises(ValueError, match=r'no image in .*empty/ or below'):
            (tmp_path / 'empty').mkdir()
            ImageDataset([tmp_path, tmp_path / 'empty'])

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

    @pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
    def test_a_list_may_begin_with_a_byte_order_mark(self, tmp_path, encoding):
        copy_images(tmp_path, 'é/a b.jpg', 'c.jpg')
        (tmp_path / 'list.txt').write_text('é/a b.jpg\r\n\r\nc.jpg\r\n', encoding=encoding)
        assert names_of(ImageDataset(tmp_path, 'list.txt'), tmp_path) == ['é/a b.jpg', 'c.jpg']

    @pytest.mark.parametrize(
        ('encoding', 'name', 'line'), [('latin-1', 'é', 2), ('utf-16-le', 'é', 2), ('utf-16-le', 'e', 1)]
    )
    def test_a_list_of_another_encoding_is_refused_with_its_line_and_the_cure(self, tmp_path, encoding, name, line):
        copy_images(tmp_path, 'a.jpg', f'{name}.jpg')
        (tmp_path / 'list.txt').write_bytes(f'a.jpg\n{name}.jpg\n'.encode(encoding))
        with pytest.raises(ValueError, match=rf'list\.txt, line {line}.*Save the list as UTF-8'):
            ImageDataset(tmp_path, 'list.txt')

    def test_a_list_that_is_a_pipe_or_a_folder_is_refused_instead_of_waited_for(self, tmp_path):
        copy_images(tmp_path, 'a.jpg')
        os.mkfifo(tmp_path / 'pipe.txt')
        (tmp_path / 'folder.txt').mkdir()
        for name in ('pipe.txt', 'folder.txt'):
            with pytest.raises(ValueError, match=rf'{name} is not a regular file'):
                ImageDataset(tmp_path, name)

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

    @pytest.mark.parametrize('loader', [load, dict(type='LoadImageFromFile'), dict(type='dino_plugin.LoadImage')])
    def test_the_limit_of_pixels_holds_whatever_decodes(self, tmp_path, loader):
        Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')
        assert ImageDataset(tmp_path, pipeline=[loader], max_pixels=600)[0]['img'].shape == (20, 30, 3)
        small = ImageDataset(tmp_path, pipeline=[loader], max_pixels=599)
        with pytest.raises(UndecodableImageError, match=r'a\.png: its header claims 30 x 20 pixels'):
            small[0]
        several = MultiPipelineDataset(ImageDataset(tmp_path, max_pixels=599), [[loader], [loader]])
        with pytest.raises(UndecodableImageError, match=r'a\.png: its header claims 30 x 20 pixels'):
            several[1]

    def test_the_limit_may_be_raised_in_one_place(self, tmp_path):
        (tmp_path / 'a.png').write_bytes(claiming('PNG', 14_000, 14_000))
        pipeline = [dict(type='dino_plugin.LoadImage')]
        with pytest.raises(UndecodableImageError, match='max_pixels=178,956,970'):
            ImageDataset(tmp_path, pipeline=pipeline)[0]
        with pytest.raises(UndecodableImageError, match='no decoder can read it'):  # it is tried
            ImageDataset(tmp_path, pipeline=pipeline, max_pixels=14_000**2)[0]

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

    def test_other_endings_are_found_on_request_in_small_or_capital_letters(self, tmp_path):
        copy_images(tmp_path, 'a/1.NPY', 'a/2.jpg', 'b/3.npy')
        assert names_of(ImageDataset(tmp_path), tmp_path) == ['a/2.jpg']
        arrays = ImageDataset(tmp_path, extensions=['.Npy'])
        assert names_of(arrays, tmp_path) == ['a/1.NPY', 'b/3.npy']
        labelled = ImageDataset(tmp_path, with_labels=True, extensions=['.npy'])
        assert [item['gt_label'] for item in _items(labelled)] == [0, 1]
        with pytest.raises(ValueError, match=r'looked for \.tif \('):
            ImageDataset(tmp_path, extensions=['.tif'])

    def test_metainfo_is_kept(self):
        assert ImageDataset(CIFAR, metainfo=dict(source='CIFAR-10 test'), lazy_init=True).metainfo['source']

    def test_test_mode_refuses_a_pipeline_that_drops_samples(self):
        with pytest.raises(Exception, match='None'):
            ImageDataset(CIFAR, pipeline=[lambda results: None], test_mode=True)[0]

    def test_max_refetch_bounds_the_search_for_a_sample(self):
        with pytest.raises(Exception, match='2'):
            ImageDataset(CIFAR, pipeline=[lambda results: None], max_refetch=2)[0]


def _items(dataset: ImageDataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _path_and_label(item: dict) -> tuple[str, int]:
    return item['img_path'], item['gt_label']
