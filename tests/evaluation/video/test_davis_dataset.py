"""Clips with masks: what is read, and what is refused before long work starts."""

import os
import shutil

import numpy as np
import pytest
from bundled import DAVIS
from image_folders import forbid
from PIL import Image
from video_clips import mask_path, small_clips

from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.evaluation.video import clip as clip_module
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset


@pytest.fixture
def folder(tmp_path):
    """One clip of four frames with two objects."""
    return small_clips(tmp_path / 'clips', ['blackswan'], frames=4)


def first_mask(folder):
    return mask_path(folder, 'blackswan', '00000')


def relabel(path, **labels):
    mask = read_mask(path)
    changed = mask.copy()
    for old, new in labels.items():
        changed[mask == int(old[1:])] = new
    write_mask(changed, path)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_bundled_clips_are_found_in_order_with_their_frames_and_masks():
    dataset = DAVISDataset(DAVIS)
    assert [clip.name for clip in dataset] == ['blackswan', 'car-shadow', 'libby']
    assert [len(clip.frames) for clip in dataset] == [9, 7, 9]
    assert dataset.metainfo == dict(clips=('blackswan', 'car-shadow', 'libby'))
    swan = dataset[0]
    assert [frame.stem for frame in swan.frames] == [mask.stem for mask in swan.masks]
    assert (swan.objects, swan.annotated) == ((1,), True)
    assert np.array_equal(swan.read_mask(3), read_mask(DAVIS / 'Annotations/480p/blackswan/00018.png'))
    red, green, blue = swan.read_frame(0)[105:114, 458:467].reshape(-1, 3).mean(axis=0)  # the swan's beak
    assert red > max(green, blue) + 100


def test_in_2017_labels_are_objects_and_in_2016_all_are_one(folder):
    several, one = (DAVISDataset(folder, year=year)[0] for year in (2017, 2016))
    assert several.objects == (1, 2)
    assert one.objects == (1,)
    assert set(np.unique(several.read_mask(1)).tolist()) == {0, 1, 2}
    assert np.array_equal(one.read_mask(1), (several.read_mask(1) > 0).astype(np.uint8))
    with pytest.raises(ValueError, match='year must be 2016'):
        DAVISDataset(folder, year=2018)


def test_255_is_void_unless_it_is_the_object_of_2016(folder):
    relabel(first_mask(folder), _2=255)
    assert DAVISDataset(folder)[0].objects == (1,)
    for year in (2016, 2017):
        assert np.array_equal(DAVISDataset(folder, year=year)[0].read_mask(0) > 0, read_mask(first_mask(folder)) == 1)
    for path in first_mask(folder).parent.iterdir():
        relabel(path, _1=255, _2=255)
    clip = DAVISDataset(folder, year=2016)[0]
    assert np.array_equal(clip.read_mask(2), (read_mask(clip.masks[2]) == 255).astype(np.uint8))
    with pytest.raises(ValueError, match=r'00000\.png.*no object \(labels: \[0, 255\]\).*year=2016'):
        DAVISDataset(folder, year=2017)


def test_a_label_that_appears_later_counts_as_background_and_is_reported(folder, monkeypatch):
    said = []
    monkeypatch.setattr(clip_module, 'print_log', lambda message, **_: said.append(message))
    later = mask_path(folder, 'blackswan', '00012')
    relabel(later, _2=7)
    clip = DAVISDataset(folder)[0]
    assert said[0].startswith(f'{later} has labels [7] that the first mask of the clip does not have')
    assert clip.objects == (1, 2)
    assert np.array_equal(clip.read_mask(2) == 0, np.isin(read_mask(later), (0, 7)))


def test_a_clip_of_ones_own_needs_the_first_mask_alone(tmp_path):
    clip = DAVISDataset(small_clips(tmp_path, ['libby'], frames=2, masks=1))[0]
    assert not clip.annotated
    assert len(clip.frames) == 2
    assert clip.read_mask(0).any()


def test_a_split_names_the_clips(tmp_path):
    root = small_clips(tmp_path, frames=3)
    (root / 'ImageSets/2017').mkdir(parents=True)
    (root / 'ImageSets/2017/val.txt').write_text('libby\nblackswan\n')
    assert [clip.name for clip in DAVISDataset(root)] == ['libby', 'blackswan']
    assert [clip.name for clip in DAVISDataset(root, split=None)] == ['blackswan', 'car-shadow', 'libby']
    assert [clip.name for clip in DAVISDataset(root, clips=['car-shadow'])] == ['car-shadow']
    with pytest.raises(FileNotFoundError, match=r"test-dev\.txt does not exist.*\['2017/val\.txt'\].*split=None"):
        DAVISDataset(root, split='test-dev')
    (root / 'ImageSets/2017/val.txt').write_text('\n')
    with pytest.raises(ValueError, match=r'val\.txt names no clip'):
        DAVISDataset(root)


def test_the_lists_of_2016_name_files(tmp_path):
    root = small_clips(tmp_path, frames=3)
    (root / 'ImageSets/480p').mkdir(parents=True)
    lines = [
        f'/JPEGImages/480p/{name}/{frame}.jpg /Annotations/480p/{name}/{frame}.png \n'
        for name in ('libby', 'blackswan')
        for frame in ('00000', '00006')
    ]
    (root / 'ImageSets/480p/val.txt').write_text(''.join(lines))
    assert [clip.name for clip in DAVISDataset(root, year=2016)] == ['libby', 'blackswan']


def test_a_clip_may_have_blanks_in_its_name_and_a_list_a_byte_order_mark(tmp_path):
    root = small_clips(tmp_path, ['libby', 'blackswan'], frames=3)
    for kind in ('JPEGImages', 'Annotations'):
        (root / kind / '480p/libby').rename(root / kind / '480p/our dog  2')
    (root / 'ImageSets/2017').mkdir(parents=True)
    (root / 'ImageSets/2017/val.txt').write_text('our dog  2\r\nblackswan\r\n', encoding='utf-8-sig')
    assert [clip.name for clip in DAVISDataset(root)] == ['our dog  2', 'blackswan']
    line = '/JPEGImages/480p/our dog  2/00000.jpg /Annotations/480p/our dog  2/00000.png\n'
    (root / 'ImageSets/2017/val.txt').write_text(line)
    assert [clip.name for clip in DAVISDataset(root)] == ['our dog  2']
    (root / 'ImageSets/2017/val.txt').write_text('blackswan\nchâlet\n', encoding='latin-1')
    with pytest.raises(ValueError, match=r'val\.txt, line 2: byte 0xe2 is not UTF-8\. .*iconv'):
        DAVISDataset(root)


def test_frames_are_taken_in_the_order_of_their_numbers_and_the_log_says_so_once(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(clip_module, 'print_log', lambda message, **kwargs: messages.append(message))
    root = small_clips(tmp_path, ['libby', 'blackswan'], frames=3)
    DAVISDataset(root)
    assert messages == []
    for clip in ('libby', 'blackswan'):
        for kind, ending in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
            for path, number in zip(sorted((root / kind / '480p' / clip).iterdir()), (2, 9, 10), strict=True):
                path.rename(path.with_name(f'{number}.{ending}'))
    opened = DAVISDataset(root)
    assert len(messages) == 1
    assert '2.jpg before 10.jpg' in messages[0]
    for clip in opened:
        assert [path.name for path in clip.frames] == ['2.jpg', '9.jpg', '10.jpg']
        assert [path.name for path in clip.masks] == ['2.png', '9.png', '10.png']


@pytest.mark.parametrize('orientation', [3, 6, 8])
def test_the_size_of_frames_is_that_of_the_upright_picture(folder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (folder / 'JPEGImages/480p/blackswan').iterdir():
        Image.open(path).save(path, exif=exif)
    if orientation == 3:  # half a turn: masks of the stored size fit
        assert DAVISDataset(folder)[0].read_frame(0).shape == (120, 214, 3)
        return
    with pytest.raises(ValueError, match='has 214 x 120 pixels, but the frames have 120 x 214'):
        DAVISDataset(folder)
    for path in (folder / 'Annotations/480p/blackswan').iterdir():
        write_mask(np.rot90(read_mask(path)).copy(), path)
    clip = DAVISDataset(folder)[0]
    assert clip.read_frame(1).shape[:2] == clip.read_mask(1).shape == (214, 120)


def test_frames_and_masks_keep_to_the_limit_of_pixels(folder):
    with pytest.raises(ValueError, match=r'00000\.jpg: its header claims 214 x 120 pixels, 25,680 in all.*max_pixels'):
        DAVISDataset(folder, max_pixels=25_679)
    clip = DAVISDataset(folder, max_pixels=25_680)[0]
    frame = clip.frames[1]
    Image.new('RGB', (300, 200)).save(frame)  # changed since
    with pytest.raises(ValueError, match='claims 300 x 200'):
        clip.read_frame(1)
    Image.new('L', (300, 200)).save(clip.masks[1])
    with pytest.raises(ValueError, match=r'00006\.png: its header claims 300 x 200'):
        clip.read_mask(1)


@pytest.mark.parametrize('kind', ['JPEGImages', 'Annotations'])
def test_a_pipe_among_frames_or_masks_is_refused_instead_of_waited_for(folder, kind):
    path = sorted((folder / kind / '480p/blackswan').iterdir())[2]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=rf'{path.name}: it is a named pipe'):
        DAVISDataset(folder)


def test_a_folder_that_cannot_be_read_is_named_with_the_cure(folder, monkeypatch):
    clip_folder = folder / 'JPEGImages/480p/blackswan'
    forbid(monkeypatch, clip_folder)  # the tests may run as root, who may read everything
    with pytest.raises(PermissionError, match=r'480p/blackswan cannot be read: Permission denied.*chmod'):
        DAVISDataset(folder)


def test_another_resolution_is_another_folder(folder):
    for kind in ('JPEGImages', 'Annotations'):
        (folder / kind / '480p').rename(folder / kind / 'Full-Resolution')
    assert len(DAVISDataset(folder, resolution='Full-Resolution')) == 1
    with pytest.raises(FileNotFoundError, match=r'JPEGImages/480p is not a folder'):
        DAVISDataset(folder)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_folder_without_clips_is_refused(tmp_path):
    for kind in ('JPEGImages', 'Annotations'):
        (tmp_path / kind / '480p').mkdir(parents=True)
    with pytest.raises(ValueError, match='no clip in'):
        DAVISDataset(tmp_path)


def test_a_clip_that_does_not_exist_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r'480p/goat is not a folder: expected the frames'):
        DAVISDataset(folder, clips=['goat'])
    shutil.rmtree(first_mask(folder).parent)
    with pytest.raises(FileNotFoundError, match=r'480p/blackswan is not a folder: expected the masks'):
        DAVISDataset(folder)


def test_a_mask_without_a_frame_is_refused(folder):
    first_mask(folder).rename(first_mask(folder).with_stem('frame0'))
    with pytest.raises(ValueError, match=r'frame0\.png has no frame of its name .*first frame: 00000\.jpg'):
        DAVISDataset(folder)


def test_masks_for_some_frames_are_refused(folder):
    mask_path(folder, 'blackswan', '00006').unlink()
    with pytest.raises(ValueError, match=r'00006\.png is missing, like 0 other masks of 4 frames.*the first one alone'):
        DAVISDataset(folder)


def test_a_first_mask_that_is_not_of_the_first_frame_is_refused(tmp_path):
    root = small_clips(tmp_path, ['libby'], frames=3, masks=1)
    mask_path(root, 'libby', '00000').rename(mask_path(root, 'libby', '00006'))
    with pytest.raises(ValueError, match=r'00000\.png is missing'):
        DAVISDataset(root)


def test_a_first_mask_without_an_object_is_refused(folder):
    relabel(first_mask(folder), _1=0, _2=0)
    with pytest.raises(ValueError, match=r'00000\.png, the first mask of its clip, has no object.*labels 1, 2, 3'):
        DAVISDataset(folder)


def test_masks_of_another_size_are_refused(folder):
    path = mask_path(folder, 'blackswan', '00012')
    write_mask(read_mask(path)[:, 2:].copy(), path)
    with pytest.raises(ValueError, match=r'00012\.png has 212 x 120 pixels, but the frames have 214 x 120.*nearest'):
        DAVISDataset(folder)


def test_colours_instead_of_labels_are_refused(folder):
    path = mask_path(folder, 'blackswan', '00018')
    Image.open(path).convert('RGB').save(path)
    with pytest.raises(ValueError, match=r'00018\.png has colours \(mode RGB\).*mode P'):
        DAVISDataset(folder)


def test_frames_of_different_sizes_and_unreadable_ones_are_refused(folder):
    frame = folder / 'JPEGImages/480p/blackswan/00012.jpg'
    Image.new('RGB', (50, 40)).save(frame)
    with pytest.raises(ValueError, match=r'00012\.jpg has 50 x 40 pixels, 00000\.jpg has 214 x 120'):
        DAVISDataset(folder)
    frame.write_text('no image')
    with pytest.raises(ValueError, match=r'00012\.jpg: not an image that can be read: no decoder'):
        DAVISDataset(folder)
    shutil.copy(frame.with_stem('00006'), frame)
    shutil.copy(frame, frame.with_suffix('.png'))
    with pytest.raises(ValueError, match='share a name'):
        DAVISDataset(folder)


def test_clips_too_short_to_propagate_or_to_score_are_refused(tmp_path):
    with pytest.raises(ValueError, match='has one frame'):
        DAVISDataset(small_clips(tmp_path / 'one', ['libby'], frames=1))
    with pytest.raises(ValueError, match=r'scores leave out the first and the last.*keep only 00000\.png'):
        DAVISDataset(small_clips(tmp_path / 'two', ['libby'], frames=2))
