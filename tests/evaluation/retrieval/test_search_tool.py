"""tools/retrieve.py: descriptors of files, the picture of the answers, and the list of near-duplicates."""

import csv
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bundled import CIFAR

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.nearest import nearest_by_cosine
from dino_plugin.evaluation.retrieval.descriptors import describe
from dino_plugin.evaluation.retrieval.files import describe_files
from dino_plugin.visualization.answers import CAPTION, FRAME, Answer, answers_sheet
from dino_plugin.visualization.contact_sheet import GAP, LABEL_HEIGHT

PHOTOGRAPHS = sorted(CIFAR.glob('*/*.jpg'))[::50]


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2).eval()


@pytest.fixture
def folder(tmp_path):
    """Twenty photographs, one of them twice, and a file that is no image."""
    folder = tmp_path / 'images'
    (folder / 'more').mkdir(parents=True)
    for path in PHOTOGRAPHS:
        shutil.copy(path, folder / f'{path.parent.name}_{path.name}')
    shutil.copy(PHOTOGRAPHS[3], folder / 'more/copy.jpg')
    (folder / 'broken.jpg').write_bytes(b'no image')
    return folder


@pytest.fixture
def search(backbone, repository, tmp_path, monkeypatch, capsys):
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, tmp_path / 'epoch_1.pth')
    tool = str(repository / 'tools/retrieve.py')

    def run(*arguments: str | Path) -> tuple[str, str]:
        options = ['--size', '32', '--num-workers', '0']
        monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'epoch_1.pth'), *map(str, arguments), *options])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr()

    return run


@pytest.mark.parametrize('features', ['class', 'class+gem'])
def test_files_are_described_as_whole_images_in_a_square(backbone, features, tmp_path):
    wide = tmp_path / 'wide.png'
    cv2.imwrite(str(wide), np.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=np.uint8))
    paths = [*PHOTOGRAPHS[:3], wide]
    found = describe_files(backbone, paths, 24, features, batch_size=3)
    pixels = torch.stack([torch.from_numpy(resize(read_image(path), 24, 24)) for path in paths])
    with torch.no_grad():
        expected = describe(backbone(ViewPreprocessor()((pixels, torch.zeros(4), None))['images']), features)
    torch.testing.assert_close(found.features, expected)
    assert (found.paths, found.failed) == (paths, {})


def test_files_that_cannot_be_read_are_named_and_left_out(backbone, folder):
    broken, missing = folder / 'broken.jpg', folder / 'missing.jpg'
    found = describe_files(backbone, [broken, PHOTOGRAPHS[0], missing], 32)
    assert (found.paths, list(found.failed)) == ([PHOTOGRAPHS[0]], [broken, missing])
    assert 'broken.jpg' in found.failed[broken] and 'missing.jpg' in found.failed[missing]
    with pytest.raises(ValueError, match=r'None of 1 images can be read: .*missing\.jpg'):
        describe_files(backbone, [missing], 32)
    with pytest.raises(ValueError, match='above 0, got 0'):
        describe_files(backbone, PHOTOGRAPHS[:1], 0)


def test_the_nearest_by_cosine_are_those_of_a_sort():
    bank, queries = torch.randn(50, 8) * 7, torch.randn(4, 8)
    cosines = torch.cosine_similarity(queries[:, None], bank[None], dim=-1)
    similarities, numbers = nearest_by_cosine(bank, queries, 50)
    torch.testing.assert_close(similarities, cosines.sort(descending=True).values)
    torch.testing.assert_close(cosines.gather(1, numbers), similarities)
    assert nearest_by_cosine(bank, queries[:0], 3)[1].shape == (0, 3)
    for k in (0, 51):
        with pytest.raises(ValueError, match=f'{k} nearest of 50 photographs'):
            nearest_by_cosine(bank, queries, k, 'photographs')


def test_the_sheet_shows_the_query_in_a_frame_and_the_answers_in_order():
    colours = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    images = [np.full((120, 120, 3), colour, np.uint8) for colour in colours]
    sheet = answers_sheet([('query', images[0], [Answer(images[1], '0.9'), Answer(images[2], '0.8')])], height=120)
    for place, colour in enumerate(colours):
        left = GAP + place * (120 + GAP)
        picture = sheet[LABEL_HEIGHT:, left : left + 120][:120]
        assert (picture[5:-5, 5:-5] == colour).all()
        assert tuple(picture[0, 0]) == (FRAME if place == 0 else colour)
        assert (sheet[LABEL_HEIGHT + 120 :, left : left + 120][:CAPTION] < 128).any(), 'no caption'


def test_panoramas_are_cut_at_the_sides():
    panorama = np.zeros((10, 100, 3), np.uint8)
    panorama[:, 35:65] = 200
    sheet = answers_sheet([('query', np.zeros((10, 10, 3), np.uint8), [Answer(panorama, '1')])], height=100)
    assert (sheet[LABEL_HEIGHT:, 2 * GAP + 100 :][:100, :300] == 200).all()


def test_the_copy_of_a_query_is_its_nearest_image_and_the_query_itself_is_no_answer(search, folder, tmp_path):
    copy = folder / 'more/copy.jpg'
    out = tmp_path / 'sheets/sheet.png'
    printed, _ = search('--images', folder, '--queries', copy, PHOTOGRAPHS[0], '--nearest', 3, '--out', out)
    lines = [line for line in printed.splitlines() if ' mmengine ' not in line]
    assert lines[0].startswith('left out: ') and 'broken.jpg' in lines[0]
    assert lines[1] == str(copy)
    assert lines[2] == f'  1.000  {folder}/{PHOTOGRAPHS[3].parent.name}_{PHOTOGRAPHS[3].name}'
    assert lines[5] == str(PHOTOGRAPHS[0])  # lies elsewhere, so its twin in the folder is an answer
    assert lines[6] == f'  1.000  {folder}/{PHOTOGRAPHS[0].parent.name}_{PHOTOGRAPHS[0].name}'
    assert len(lines) == 10 and lines[9] == str(out)
    assert cv2.imread(str(out)).shape[0] == 2 * (LABEL_HEIGHT + 120 + CAPTION + GAP)


def test_more_answers_than_images_are_all_images(search, folder, tmp_path):
    printed, _ = search('--images', folder, '--queries', folder / 'more/copy.jpg', '--nearest', 99,
                        '--out', tmp_path / 'sheet.png')  # fmt: skip
    assert len([line for line in printed.splitlines() if line.startswith('  ')]) == 20


def test_pairs_are_written_most_similar_first(search, folder, tmp_path):
    out = tmp_path / 'lists/pairs.csv'
    printed, _ = search('--images', folder, '--pairs', out, '--closest', 5)
    assert printed.splitlines()[-1] == f'{out}: 5 pairs of 21 images'
    rows = list(csv.DictReader(out.open()))
    assert {rows[0]['first'], rows[0]['second']} == {
        str(folder / 'more/copy.jpg'), str(folder / f'{PHOTOGRAPHS[3].parent.name}_{PHOTOGRAPHS[3].name}')
    }  # fmt: skip
    similarities = [float(row['similarity']) for row in rows]
    assert similarities == sorted(similarities, reverse=True) and similarities[0] == 1
    search('--images', folder, '--pairs', out, '--threshold', 1)
    assert len(out.read_text().splitlines()) == 2


def test_an_index_gives_the_same_answers_and_pairs(search, folder, tmp_path):
    pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    answers, lists = [], []
    for index in ('exact', 'flat'):
        options = ['--queries', folder / 'more/copy.jpg', '--out', tmp_path / 'sheet.png', '--index', index]
        printed, _ = search('--images', folder, *options, '--pairs', tmp_path / 'pairs.csv', '--threshold', 0.9999)
        answers.append([line for line in printed.splitlines() if line.startswith('  ')])
        lists.append((tmp_path / 'pairs.csv').read_text())
    assert answers[0] == answers[1] and len(answers[0]) == 8
    assert lists[0] == lists[1] and 'copy.jpg' in lists[0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give --queries IMAGE [...] to search for, --pairs FILE.csv, or both'),
        (['--queries', 'missing.jpg'], 'missing.jpg does not exist'),
        (['--queries', '{folder}/broken.jpg'], 'broken.jpg'),
        (['--queries', '{folder}/more/copy.jpg', '--out', 'sheet.csv'], 'use an ending such as .png'),
        (['--pairs', 'pairs.csv', '--closest', '0'], 'most=0'),
        (['--pairs', 'pairs.csv', '--threshold', '2'], 'threshold is a cosine'),
    ],
)
def test_mistakes_are_told_without_a_traceback(search, folder, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        search('--images', folder, *(argument.format(folder=folder) for argument in arguments))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_images_is_refused(search, tmp_path, capsys):
    (tmp_path / 'nothing').mkdir()
    with pytest.raises(SystemExit):
        search('--images', tmp_path / 'nothing', '--pairs', tmp_path / 'pairs.csv')
    assert 'no image in' in capsys.readouterr().err
