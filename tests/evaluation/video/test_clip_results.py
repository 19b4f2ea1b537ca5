"""Results on disk: the official layout, and a clip that is finished only if nothing it depends on has changed."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from video_clips import mask_path, small_clips

from dino_plugin.data.images.label_masks import davis_palette, read_mask, write_mask
from dino_plugin.evaluation.video.clip_results import ClipResults, run_clip
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.scores import evaluate_clip
from dino_plugin.evaluation.video.segment_clip import copy_first_mask

SETTINGS = dict(weights='abc', short_side=480)


@pytest.fixture
def clip(tmp_path):
    return DAVISDataset(small_clips(tmp_path / 'clips', ['blackswan'], frames=4))[0]


@pytest.fixture
def folder(tmp_path, clip):
    run_clip(ClipResults(tmp_path / 'out', clip, SETTINGS), copy_first_mask(clip))
    return tmp_path / 'out'


def test_masks_are_indexed_png_in_the_official_layout_and_nothing_else_is_there(folder, clip):
    files = sorted(path for path in (folder / 'davis').rglob('*') if path.is_file())
    assert files == [folder / f'davis/blackswan/{name}.png' for name in ('00000', '00006', '00012', '00018')]
    for path in files:
        with Image.open(path) as image:
            assert image.mode == 'P'
            assert image.getpalette()[:9] == davis_palette()[:3].ravel().tolist()
            assert np.array_equal(np.array(image), clip.read_mask(0))


def test_the_film_plays_and_shows_the_objects_over_the_frames(folder, clip):
    film = cv2.VideoCapture(str(folder / 'overlays/blackswan.mp4'))
    frames = [film.read()[1] for _ in clip.frames]
    assert not film.read()[0]
    mask = clip.read_mask(0)
    inside = cv2.erode((mask == 1).astype(np.uint8), np.ones((5, 5))).astype(bool)
    outside = cv2.dilate((mask > 0).astype(np.uint8), np.ones((9, 9))) == 0
    for index, frame in enumerate(frames):
        change = frame[..., ::-1].astype(float) - clip.read_frame(index)
        red, green, blue = change[inside].mean(axis=0)
        assert red > max(green, blue) + 30, 'object 1 is red'
        assert np.abs(change[outside].mean()) < 3


def test_the_sheet_has_a_row_for_the_annotation_if_there_is_one(folder, clip, tmp_path):
    both = cv2.imread(str(folder / 'overlays/blackswan.png'))
    clips = DAVISDataset(small_clips(tmp_path / 'own', ['blackswan'], frames=4, masks=1))
    assert run_clip(ClipResults(tmp_path / 'own_out', clips[0], SETTINGS), copy_first_mask(clips[0])) is None
    one = cv2.imread(str(tmp_path / 'own_out/overlays/blackswan.png'))
    assert both.shape == (2 * one.shape[0], one.shape[1], 3)
    assert np.array_equal(both[: one.shape[0]], one)


def test_a_finished_clip_is_read_and_scores_the_same(folder, clip):
    def never():
        raise AssertionError('it was computed again')
        yield

    again = run_clip(ClipResults(folder, clip, SETTINGS), never())
    expected = evaluate_clip(clip, copy_first_mask(clip))
    assert np.array_equal(again.regions, expected.regions)
    assert np.array_equal(again.boundaries, expected.boundaries)


def changed_mask(folder, clip):
    path = mask_path(folder.parent / 'clips', 'blackswan', '00000')
    mask = read_mask(path)
    mask[:40] = 1
    write_mask(mask, path)


def changed_frame(folder, clip):
    clip.frames[2].write_bytes(clip.frames[2].read_bytes() + b' ')


def missing_mask(folder, clip):
    (folder / 'davis/blackswan/00006.png').unlink()


def missing_marker(folder, clip):
    (folder / 'finished/blackswan.json').unlink()


@pytest.mark.parametrize('change', [changed_mask, changed_frame, missing_mask, missing_marker])
def test_a_clip_is_made_again_if_what_it_depends_on_has_changed(change, folder, clip):
    assert ClipResults(folder, clip, SETTINGS).finished()
    change(folder, clip)
    assert not ClipResults(folder, clip, SETTINGS).finished()


def test_other_weights_other_settings_and_another_year_are_not_mistaken_for_these(folder, clip):
    assert not ClipResults(folder, clip, dict(SETTINGS, weights='other')).finished()
    assert not ClipResults(folder, clip, dict(SETTINGS, short_side=240)).finished()
    one_object = DAVISDataset(folder.parent / 'clips', year=2016)[0]
    assert not ClipResults(folder, one_object, SETTINGS).finished()
    assert json.loads((folder / 'finished/blackswan.json').read_text())['settings'] == SETTINGS


def test_a_clip_that_breaks_off_is_not_finished(folder, clip):
    def broken():
        yield clip.read_mask(0)
        raise OSError('the disk is gone')

    results = ClipResults(folder, clip, dict(weights='new'))
    with pytest.raises(OSError, match='the disk is gone'):
        run_clip(results, broken())
    assert not results.finished()
    assert not ClipResults(folder, clip, SETTINGS).finished(), 'some of its masks are new'
    with pytest.raises(ValueError, match='shorter'):
        run_clip(results, [clip.read_mask(0)] * 3)
    assert not results.finished()
