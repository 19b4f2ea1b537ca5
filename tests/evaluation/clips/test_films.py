"""Films: frames of videos and folders, clips and views of them, layouts and lists, and what cannot be read."""

import json
import random
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.evaluation.clips.dataset import ClipDataset
from dino_plugin.evaluation.clips.direction import DirectionOfTime
from dino_plugin.evaluation.clips.films import num_frames, read_frames
from dino_plugin.evaluation.clips.pipeline_steps import CropClips, PackClips, RandomCropClips, ReadClips, clip_places

av = pytest.importorskip('av', reason="PyAV is not installed: pip install 'dino_plugin[video]'")


def pictures(count: int, rows: int = 32, columns: int = 48) -> list[np.ndarray]:
    """A bright square that moves to the right."""
    frames = [np.full((rows, columns, 3), 40, np.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[8:24, number % (columns - 16) : number % (columns - 16) + 16] = (250, 200 - number, number)
    return frames


def write_video(path: Path, count: int = 12, codec: str = 'mpeg4', **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=Fraction(10), options={'g': '20', **options})
        stream.height, stream.width, stream.pix_fmt = 32, 48, 'yuv420p'
        for frame in pictures(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, count: int = 12) -> Path:
    path.mkdir(parents=True)
    for number, frame in enumerate(pictures(count)):
        cv2.imwrite(str(path / f'{number}.png'), frame[..., ::-1])  # 10.png comes after 9.png
    return path


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('a.mp4', {}),
        ('b.mp4', {'bf': '2'}),
        ('c.avi', {}),
        ('d.ts', {'codec': 'mpeg2video'}),
        ('e.mpg', {'codec': 'mpeg2video'}),
        ('f.mkv', {'bf': '2'}),
    ],
)
def test_seeking_gives_the_frames_that_decoding_everything_gives(tmp_path, name, options):
    path = str(write_video(tmp_path / name, 130, **options))
    with av.open(path) as container:
        everything = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(everything) == 130
    assert 130 - num_frames(path) in (0, name == 'e.mpg')  # MPEG's program streams give a duration, a frame too short
    asked = [100, 3, 128, 4, 100, 0, 57]
    for index, frame in zip(asked, read_frames(path, asked)):
        assert np.array_equal(frame, everything[index]), index
    assert read_frames(path, [2], short_side=16)[0].shape == (16, 24, 3)
    shapes = [read_frames(path, [2], short_side=side, only_shrink=True)[0].shape for side in (16, 40)]
    assert shapes == [(16, 24, 3), (32, 48, 3)]


def test_a_film_of_a_telephone_is_turned_upright(tmp_path):
    path = write_video(tmp_path / 'film.mp4')
    (lying,) = read_frames(str(path), [5])
    content = bytearray(path.read_bytes())
    matrix = content.index(b'tkhd') + 44  # of ISO 14496-12: turn by 90 degrees clockwise
    content[matrix : matrix + 36] = struct.pack('>9i', 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)
    turned = tmp_path / 'turned.mp4'
    turned.write_bytes(content)
    assert np.array_equal(read_frames(str(turned), [5])[0], np.rot90(lying, -1))


def test_a_folder_is_a_film_in_the_order_of_its_numbers(tmp_path):
    folder = str(write_folder(tmp_path / 'film'))
    found = read_frames(folder, [10, 2])
    assert num_frames(folder) == 12
    assert np.array_equal(found[0], pictures(12)[10]) and np.array_equal(found[1], pictures(12)[2])


def test_a_film_that_breaks_off_repeats_its_last_frame(tmp_path):
    whole = write_video(tmp_path / 'whole.mkv', 60)
    broken = tmp_path / 'broken.mkv'
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = read_frames(str(broken), [0, 58, 59])
    assert np.array_equal(frames[1], frames[2])
    assert not np.array_equal(frames[0], frames[1])


def test_clips_are_spread_and_short_films_get_a_smaller_step():
    assert clip_places(20, frames=3, step=2, clips=2) == [4, 6, 8, 12, 14, 16]  # starts in [0, 15]: 4 and 12
    assert clip_places(5, frames=3, step=2, clips=1) == [0, 2, 4]
    assert clip_places(4, frames=3, step=2, clips=2) == [0, 2, 3, 0, 2, 3]
    assert clip_places(2, frames=4, step=1, clips=1) == [0, 0, 1, 1]
    random.seed(0)
    drawn = np.array([clip_places(51, 4, 3, 2, random_places=True) for _ in range(300)])
    assert (np.diff(drawn[:, :4]) == 3).all() and drawn.min() == 0 and drawn.max() == 50
    assert set(drawn[:, 0]) == set(range(21)) and set(drawn[:, 4]) == set(range(21, 42))


def test_views_lie_along_the_longer_side():
    frames = np.arange(40 * 100).reshape(1, 40, 100, 1).repeat(3, axis=3)
    for turned in (frames, frames.swapaxes(1, 2)):
        views = CropClips(32, views=3).transform(dict(frames=turned, film='film'))['views']
        place = turned.shape.index(100)
        for view, start in zip(views, (0, 34, 68)):
            corner = [4, 4]
            corner[place - 1] = start
            assert view[0, 0, 0, 0] == turned[0, corner[0], corner[1], 0]
    square = frames[:, :, :40]
    views = CropClips(32, views=3).transform(dict(frames=square, film='film'))['views']
    assert [view[0, 0, 0, 0] for view in views] == [square[0, 4, left, 0] for left in (0, 4, 8)]
    with pytest.raises(ValueError, match='a square of 48 pixels does not fit into frames of 100x40'):
        CropClips(48).transform(dict(frames=frames, film='film'))


def test_one_random_box_and_one_flip_serve_all_frames():
    frames = np.stack([pictures(1)[0]] * 4)
    for seed in range(10):
        random.seed(seed)
        (view,) = RandomCropClips(24, flip_probability=1.0).transform(dict(frames=frames))['views']
        random.seed(seed)
        (other,) = RandomCropClips(24, flip_probability=0.0).transform(dict(frames=frames))['views']
        assert (view == view[:1]).all() and np.array_equal(view[:, :, ::-1], other)


def steps(fixed: bool = True) -> list:
    crop = CropClips(32) if fixed else RandomCropClips(32)
    return [ReadClips(frames=3, step=2, random=not fixed, short_side=32), crop, PackClips()]


@pytest.fixture
def films(tmp_path) -> Path:
    """Two classes: a video and a folder; the frames of one film alone."""
    write_video(tmp_path / 'run/one.mp4')
    write_folder(tmp_path / 'run/two')
    write_folder(tmp_path / 'walk')
    return tmp_path


def test_class_folders_hold_videos_or_folders_of_frames(films):
    dataset = ClipDataset(films, pipeline=steps())
    assert dataset.metainfo['classes'] == ('run', 'walk')
    assert [(Path(path).stem, label) for _, label, path in dataset] == [('one', 0), ('two', 0), ('walk', 1)]
    expected = [pictures(12)[place][:, 8:40] for place in (4, 6, 8)]
    assert np.array_equal(dataset[1][0][0].numpy(), expected)
    windows = ClipDataset(films, films=['two'], part=(0.5, 1.0), window=4, stride=2, pipeline=steps())
    assert [(info['first'], info['last']) for info in map(windows.get_data_info, range(len(windows)))] == [
        (6, 10),
        (8, 12),
    ]


def test_images_beside_films_are_no_frames_and_are_counted(films, log):
    for poster in ('poster.jpg', 'thumbnail.PNG'):
        cv2.imwrite(str(films / 'run' / poster), pictures(1)[0])
    write_folder(films / 'walk/sub', 3)  # beside twelve frames
    found = ClipDataset(films, pipeline=steps())
    assert [Path(path).stem for _, _, path in found] == ['one', 'two', 'sub'], 'as without the images'
    assert f'3 films of 2 classes in {films}; left out: 14 images beside films, first {films}/run/poster.jpg' in log()


def test_lists_of_kinetics_and_ucf101(films):
    (films / 'train.txt').write_text('run/one.mp4 2\nwalk 1\n')
    (films / 'test.txt').write_text('run/two\n')
    (films / 'classes.txt').write_text('1 walk\n2 run\n')
    numbers = ClipDataset(films, 'train.txt', classes='classes.txt', first_label=1, pipeline=steps())
    names = ClipDataset(films, 'test.txt', classes='classes.txt', first_label=1, pipeline=steps())
    assert numbers.metainfo['classes'] == names.metainfo['classes'] == ('walk', 'run')
    assert [label for _, label, _ in numbers] == [1, 0] and names[0][1] == 1
    (films / 'commas.csv').write_text('walk,walk\nrun/one.mp4,run\n')
    assert [label for _, label, _ in ClipDataset(films, 'commas.csv', classes=['run', 'walk'], pipeline=steps())] == [
        1,
        0,
    ]


LABELS = '{"Moving something up": "1", "Holding something": "0"}'


def test_the_published_lists_of_something_something_are_read_as_they_are(films):
    (films / '20bn-something-something-v2').mkdir()
    (films / '20bn-something-something-v2/78.webm').symlink_to(films / 'run/one.mp4')
    (films / '9.webm').symlink_to(films / 'run/two')
    (films / 'labels.json').write_text(LABELS)
    entries = [
        dict(id='78', label='moving a cup up', template='Moving [something] up', placeholders=['a cup']),
        dict(id='9', label='holding a pen', template='Holding [something]', placeholders=['a pen']),
    ]
    (films / 'train.json').write_text(json.dumps(entries))
    dataset = ClipDataset(films, 'train.json', classes='labels.json', pipeline=steps())
    assert dataset.metainfo['classes'] == ('Holding something', 'Moving something up'), 'in the order of the numbers'
    assert [(Path(path).name, label) for _, label, path in dataset] == [('78.webm', 1), ('9.webm', 0)]


def test_the_published_lists_of_kinetics_are_read_and_missing_films_counted(films, log):
    for name, film in {'a-1_000007_000017.mp4': 'run/one.mp4', 'walk/_b_000000_000010.mp4': 'run/two'}.items():
        (films / name).symlink_to(films / film)
    text = 'label,youtube_id,time_start,time_end,split,is_cc\n"run, fast",a-1,7,17,train,0\nwalk,_b,0,10,train,0\n'
    (films / 'train.csv').write_text(text)
    (films / 'val.csv').write_text(text.replace('"run, fast",a-1,7,17,train,0\n', 'walk,gone,1200,1210,train,0\n'))
    dataset = ClipDataset(films, 'train.csv', pipeline=steps())
    assert dataset.metainfo['classes'] == ('run, fast', 'walk')
    assert [(Path(path).name, label) for _, label, path in dataset] == [
        ('a-1_000007_000017.mp4', 0),
        ('_b_000000_000010.mp4', 1),
    ]
    with pytest.raises(FileNotFoundError, match=r'1 of 2 films .*gone_001200_001210.mp4 or .*walk/gone.*unreadable='):
        ClipDataset(films, 'val.csv', pipeline=steps())
    ((_, label, _),) = ClipDataset(films, 'val.csv', classes='train.csv', unreadable='skip', pipeline=steps())
    assert label == 1 and f'left out: 1 films that do not exist, first {films}/gone_001200_001210.mp4' in log()


@pytest.mark.parametrize(
    ('name', 'text', 'classes', 'message'),
    [
        ('test.json', '[{"id": "1"}]', None, r'entry 0: expected "id" and "template".* take train.json'),
        ('train.json', '[{"id": "1", "template": "[Something]"}]', 'labels.json', "'Something' of 1.webm is no class"),
        ('train.json', '{"abc": {"annotations": {}}}', None, 'Of Kinetics take the list in CSV'),
        ('train.json', '[', None, 'is not JSON'),
        ('train.json', '[]', 'numbers.json', r'numbers\.json: expected .* with 0 to 1, each once'),
        ('test.csv', 'youtube_id,time_start,time_end,split\na,1,2,test\n', None, r"no column \['label'\]"),
        ('train.csv', 'label,youtube_id,time_start,time_end\nrun,a,1.5,2\n', None, "line 2: .* got '1.5', '2'"),
    ],
)
def test_published_lists_that_do_not_fit_are_refused(films, name, text, classes, message):
    (films / 'labels.json').write_text(LABELS)
    (films / 'numbers.json').write_text(LABELS.replace('0', '2'))
    (films / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        ClipDataset(films, name, classes=classes, pipeline=steps())


def test_backwards_is_the_same_frames_in_the_other_order(films):
    dataset = DirectionOfTime(films, films=['two'], pipeline=steps())
    (forward, label, _), (backward, other, _) = dataset
    assert (label, other, dataset.metainfo['classes']) == (0, 1, ('forward', 'backward'))
    places = [4, 6, 8]
    assert np.array_equal(forward[0].numpy(), [pictures(12)[place][:, 8:40] for place in places])
    assert np.array_equal(backward[0].numpy(), [pictures(12)[11 - place][:, 8:40] for place in places])


def test_random_clips_are_the_same_with_any_number_of_workers(films):
    dataset = SeededDataset(ClipDataset(films, pipeline=steps(fixed=False)))
    assert not dataset.dataset.fixed
    keys = [(index, 7 + index) for index in (2, 0, 1)]
    found = [
        list(DataLoader(dataset, 1, sampler=keys, num_workers=workers, collate_fn=image_collate)) for workers in (0, 2)
    ]
    for one, other in zip(*found):
        assert torch.equal(one[0], other[0]) and one[2] == other[2]
    assert not torch.equal(dataset[2, 1][0], dataset[2, 2][0])


def test_films_that_cannot_be_read_are_named_and_refused_or_left_out(films, log):
    (films / 'run/broken.mp4').write_bytes(b'no film')
    write_folder(films / 'run/single', 1)
    with pytest.raises(ValueError, match=r'2 of 5 films cannot be read: .*broken\.mp4 is no video.*single has 1 frame'):
        ClipDataset(films, pipeline=steps())
    assert len(ClipDataset(films, unreadable='skip', pipeline=steps())) == 3
    assert 'broken.mp4' in log() and 'left out' in log()


def test_films_that_are_too_short_are_named_and_frames_of_two_sizes_refused(films, log):
    write_folder(films / 'run/short', 3)
    windows = ClipDataset(films, window=5, pipeline=steps())
    assert len({windows.get_data_info(number)['film'] for number in range(len(windows))}) == 3
    assert '1 of 4 films are left out: part=(0.0, 1.0) of them has fewer than 5 frames' in log() and 'short' in log()
    cv2.imwrite(str(films / 'run/short/1.png'), pictures(1, 40, 48)[0])
    with pytest.raises(UndecodableImageError, match=r'run/short has frames of different sizes: \[\(38, 32\), \(48, 32'):
        ReadClips(3, 1, short_side=32).transform(dict(film=str(films / 'run/short'), first=0, last=3))


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        ('run/one.mp4\n', {}, r'line 1: run/one\.mp4 has no label'),
        (
            'run/one.mp4 2\n',
            dict(classes=['run', 'walk']),
            "label '2' of run/one.mp4 is no class. There are 2, from 0 on",
        ),
        ('run/one.mp4 0\n', dict(first_label=1), "label '0' .* first_label is 1"),
        ('run/one.mp4 jump\n', {}, "label 'jump' .* Give classes=FILE"),
        ('run/none.mp4 0\n', {}, r'1 of 1 films of .* do not exist: .*none\.mp4'),
        ('\n', {}, 'names no film'),
    ],
)
def test_lists_that_do_not_fit_are_refused(films, text, options, message):
    (films / 'list.txt').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ClipDataset(films, 'list.txt', pipeline=steps(), **options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(classes=['run', 'walk', 'swim']), '1 of 3 classes have no film in .*: swim'),
        (dict(classes=['run']), 'folders of .* are none of the 1 classes: walk'),
        (dict(films=['three']), r"films=\['three'\] are not in"),
        (dict(window=13), 'have no window of 13 frames'),
        (dict(unreadable='ignore'), 'unreadable is one of'),
        (dict(data_root='nowhere'), 'data_root is not a folder: nowhere'),
    ],
)
def test_folders_and_options_that_do_not_fit_are_refused(films, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ClipDataset(**{'data_root': films, 'pipeline': steps(), **options})
