"""Attention over images: what glows, what keeps its colours, and the tool on images, folders and films."""

import functools

import cv2
import numpy as np
import pytest
import torch

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.evaluation.attention.images import attention_of_image
from dino_plugin.evaluation.attention.mass import mass_mask
from dino_plugin.visualization.attention import attention_sheet, heads_sheet, heat_overlay, spotlight
from dino_plugin.visualization.tiles import tile_sheet

IMAGE = np.full((40, 60, 3), (200, 100, 50), np.uint8)


def test_the_patch_with_most_attention_glows_and_one_without_is_dark_grey():
    heat = np.array([[0.0, 0.2, 0.0], [0.0, 0.0, 0.1]])
    shown = heat_overlay(IMAGE, heat, smooth=False)
    brightest = shown[5, 30]
    assert brightest.sum() > 600 and (shown[:20, 20:40] == brightest).all()
    assert (np.ptp(shown[:, :20].astype(int), axis=-1) == 0).all() and shown[:, :20].max() < 128
    assert (heat_overlay(IMAGE, 7 * heat, smooth=False) == shown).all()
    assert len(np.unique(heat_overlay(IMAGE, heat).reshape(-1, 3), axis=0)) > 20
    common = heat_overlay(IMAGE, 7 * heat, smooth=False, most=14 * float(heat.max()))
    assert (common == heat_overlay(IMAGE, heat / 2, smooth=False, most=float(heat.max()))).all()
    assert (common != shown).any()


def test_a_map_without_attention_shows_the_dark_image():
    assert np.ptp(heat_overlay(IMAGE, np.zeros((2, 3)))) == 0


def test_the_mask_keeps_the_colours_inside_and_greys_the_rest():
    mask = np.array([[True, False, False], [False, False, False]])
    shown = spotlight(IMAGE, mask)
    assert (shown[3:17, 3:17] == IMAGE[0, 0]).all()
    assert (np.ptp(shown[:, 25:].astype(int), axis=-1) == 0).all() and shown[:, 25:].max() < 60
    assert (shown[19, 10] == (255, 200, 40)).all()  # the outline


def test_a_row_for_each_image_shows_it_the_mean_of_its_heads_and_each_head():
    maps = np.random.default_rng(0).random((2, 3, 2, 3))
    tall = np.full((60, 40, 3), 90, np.uint8)
    sheet = heads_sheet([IMAGE, tall], list(maps), width=480)  # 480 / 5 pictures: 96 rows each
    widths = [144, 64]
    text = sheet.shape[0] - 2 * 96 - 8 - 8  # gaps below each row; the title stands above the first
    for row, (image, heads, width) in enumerate(zip([IMAGE, tall], maps, widths)):
        small = np.full((96, width, 3), image[0, 0], np.uint8)
        for place, tile in enumerate([small, *(heat_overlay(small, one) for one in (heads.mean(axis=0), *heads))]):
            top, left = text + row * (96 + 8), place * (width + 8)
            assert (sheet[top : top + 96, left : left + width] == tile).all(), (row, place)


@pytest.mark.parametrize('number', [1, 3, 7, 13])
def test_the_sheet_shows_every_map_and_mask_once(number):
    maps = np.ones((number, 2, 3))
    masks = np.zeros((number, 2, 3), bool)
    sheet = attention_sheet(IMAGE, maps, masks, [''] * number, height=40, smooth=False)
    for tile, times in (
        (heat_overlay(IMAGE, maps[0], False), number),
        (spotlight(IMAGE, masks[0]), number),
        (IMAGE, 1),
    ):
        colour = tile[20, 30]
        assert (sheet == colour).all(axis=-1).sum() == 40 * 60 * times
    assert 0.7 < sheet.shape[1] / sheet.shape[0] < 4


def test_a_sheet_has_its_tiles_below_their_titles_and_refuses_to_be_empty():
    tiles = [('one', np.zeros((20, 30, 3), np.uint8)), ('', np.full((10, 5, 3), 9, np.uint8))]
    sheet = tile_sheet([tiles, [('', tiles[1][1])]], gap=4)
    assert sheet.shape == (4 + 13 + 20 + 4 + 10 + 4, 30 + 4 + 5, 3)
    assert (sheet[17:37, :30] == 0).all() and (sheet[17:27, 34:] == 9).all() and (sheet[41:51, :5] == 9).all()
    assert sheet[:17].min() < 100  # the title
    assert (sheet[41:, 5:] == 255).all()
    with pytest.raises(ValueError, match='at least one row'):
        tile_sheet([])


@pytest.fixture
def run_tool(run_picture_tool):
    return functools.partial(run_picture_tool, 'visualize_attention')


@pytest.fixture
def swans(repository):
    return sorted((repository / 'tests/data/davis/JPEGImages/480p/blackswan').glob('*.jpg'))[:2]


def expected_sheet(checkpoint, path, size, block=-1, threshold=0.6, smooth=True):
    image = cv2.imread(str(path))[..., ::-1]
    found = attention_of_image(TimmBackbone(checkpoint=str(checkpoint)), image, [block], size)
    maps = found[0].class_maps()[0]
    maps = torch.cat([maps.mean(0, keepdim=True), maps])
    names = ['mean of heads', 'head 0', 'head 1']
    return attention_sheet(image, maps.numpy(), mass_mask(maps, threshold).numpy(), names, smooth=smooth)


@pytest.mark.parametrize(
    'options, expected',
    [
        ([], {}),
        (['--block', 0], dict(block=0)),
        (['--threshold', 0.3], dict(threshold=0.3)),
        (['--patches'], dict(smooth=False)),
    ],
)
def test_the_tool_draws_the_attention_of_an_image(run_tool, swans, small_checkpoint, tmp_path, options, expected):
    printed, _ = run_tool(swans[0], '--out', tmp_path / 'swan.png', '--size', 48, *options)
    assert printed.split()[-1] == str(tmp_path / 'swan.png')
    found = cv2.imread(str(tmp_path / 'swan.png'))[..., ::-1]
    assert np.array_equal(found, expected_sheet(small_checkpoint, swans[0], 48, **expected))


def test_the_tool_draws_a_picture_for_each_image_of_a_folder(run_tool, swans, tmp_path):
    (tmp_path / 'in/below').mkdir(parents=True)
    for path, name in zip(swans, ('in/a.jpg', 'in/below/b.jpg')):
        (tmp_path / name).write_bytes(path.read_bytes())
    run_tool(tmp_path / 'in', '--out', tmp_path / 'out', '--size', 48)
    found = sorted(path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.*'))
    assert found == ['a.png', 'below/b.png']


def test_a_folder_of_frames_and_a_video_become_films(run_tool, swans, tmp_path):
    (tmp_path / 'in').mkdir()
    for number in range(3):
        (tmp_path / f'in/{number}.jpg').write_bytes(swans[number % 2].read_bytes())
    run_tool(tmp_path / 'in', '--film', '--out', tmp_path / 'of_folder.mp4', '--size', 48)
    writer = cv2.VideoWriter(str(tmp_path / 'in.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 5, (160, 96))
    for number in range(3):
        writer.write(cv2.resize(cv2.imread(str(swans[number % 2])), (160, 96)))
    writer.release()
    printed, _ = run_tool(tmp_path / 'in.avi', '--out', tmp_path / 'of_video.mp4', '--size', 48)
    assert printed.endswith('of_video.mp4: 3 frames\n')
    for name, rate in (('of_folder.mp4', 12), ('of_video.mp4', 5)):
        film = cv2.VideoCapture(str(tmp_path / name))
        assert film.get(cv2.CAP_PROP_FPS) == rate
        frames = 0
        while film.read()[0]:
            frames += 1
        assert frames == 3


def test_what_cannot_be_drawn_is_said_in_a_sentence(run_tool, swans, tmp_path, capsys):
    no_video = tmp_path / 'no.mp4'
    no_video.write_bytes(b'no video')
    mixed = tmp_path / 'mixed'
    mixed.mkdir()
    for size in (64, 80):
        cv2.imwrite(str(mixed / f'{size}.jpg'), np.zeros((64, size, 3), np.uint8))
    for arguments, said in (
        ([swans[0], '--block', 7], 'block 7 does not exist: the network has 2, 0 to 1'),
        ([swans[0], '--threshold', 0], 'share of the mass in (0, 1]'),
        ([swans[0], '--size', 4], 'short_side=4'),
        ([swans[0], '--film'], '--film needs a folder of frames or a video'),
        ([swans[0], '--out', tmp_path / 'a.docx'], 'a.docx'),
        ([swans[0].parent, '--film', '--out', tmp_path / 'a.png'], 'ends in .mp4'),
        ([mixed, '--film', '--size', 32, '--out', tmp_path / 'a.mp4'], 'frame 2 has another size'),
        ([no_video], 'cannot be read as a video'),
        ([tmp_path / 'no'], 'does not exist'),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool(*arguments)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_a_convnet_is_refused_in_a_sentence(run_tool, swans, tmp_path, capsys):
    backbone = TimmBackbone('resnet10t')
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, tmp_path / 'convnet.pth')
    with pytest.raises(SystemExit):
        run_tool(swans[0], checkpoint=tmp_path / 'convnet.pth')
    assert 'ResNet is a convolutional network or attends within windows' in capsys.readouterr().err
