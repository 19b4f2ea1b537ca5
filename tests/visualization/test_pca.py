"""Patch features as colours."""

import functools
import os

import cv2
import numpy as np
import pytest
import torch

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands.picture_tools import image_paths
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.visualization.pca import patch_pca, pca_of_images, pca_sheet


def features(images=2, rows=6, columns=9, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(4, 0.2, dim) ** 2
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    return (torch.randn(images, rows, columns, dim, generator=generator) * scales) @ rotation + 3


def test_colours_are_the_first_three_components_up_to_scale():
    patches = features()
    samples = patches.flatten(end_dim=-2).double()
    samples = samples - samples.mean(dim=0)
    components = torch.linalg.svd(samples, full_matrices=False)[0][:, :3]
    colours = patch_pca(patches).flatten(end_dim=-2).double()
    for axis in range(3):
        inside = (colours[:, axis] > 0) & (colours[:, axis] < 1)
        assert inside.float().mean() > 0.93
        both = torch.stack([components[inside, axis], colours[inside, axis]])
        assert abs(float(torch.corrcoef(both)[0, 1])) == pytest.approx(1, abs=1e-6)


def test_every_component_spans_black_to_full_and_outliers_do_not_darken_the_rest():
    patches = features()
    patches[0, 0, 0] += 1000  # a few odd patches are common in vision transformers
    colours = patch_pca(patches).flatten(end_dim=-2)
    assert torch.equal(colours.amin(dim=0), torch.zeros(3))
    assert torch.equal(colours.amax(dim=0), torch.ones(3))
    assert (colours[1:].std(dim=0) > 0.2).all()


def test_a_rotation_of_the_features_changes_no_colour_but_its_direction():
    patches = features()
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(5))).Q
    colours, rotated = patch_pca(patches), patch_pca(patches @ rotation + 7)
    for axis in range(3):
        same = torch.allclose(colours[..., axis], rotated[..., axis], atol=1e-3)
        assert same or torch.allclose(colours[..., axis], 1 - rotated[..., axis], atol=1e-3)


def test_the_sign_is_settled_so_that_mirrored_solutions_cannot_differ():
    patches = features(seed=3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(patch_pca(patches)[:, :, order], patch_pca(patches[:, :, order]), atol=1e-4)


def test_colours_like_earlier_ones_keep_their_meaning_when_signs_order_and_axes_change():
    components = torch.randn(1, 12, 20, 3, generator=torch.Generator().manual_seed(1))
    components = torch.linalg.qr(components.flatten(end_dim=-2) - components.mean(dim=(0, 1, 2))).Q  # no axis leads
    before = patch_pca(components.view(1, 12, 20, 3) * torch.tensor([3.0, 2.0, 1.0]))
    swapped = components[:, [2, 0, 1]].view(1, 12, 20, 3) * torch.tensor([-3.0, 2.0, -1.0])
    assert (patch_pca(swapped) - before).abs().max() > 0.5
    assert torch.allclose(patch_pca(swapped, like=before), before, atol=0.02)
    turned = (components @ torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2))).Q) * 5
    assert torch.allclose(patch_pca(turned.view(1, 12, 20, 3), like=before), before, atol=0.02)


def test_features_that_do_not_vary_stay_grey_beside_earlier_colours():
    colours = patch_pca(torch.ones(1, 4, 4, 8), like=torch.rand(1, 4, 4, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(colours, torch.full((1, 4, 4, 3), 0.5))


def test_images_share_their_colours():
    patches = features(images=1).repeat(3, 1, 1, 1)
    colours = patch_pca(patches)
    assert torch.allclose(colours[0], colours[1])
    assert torch.allclose(colours[0], colours[2])


def test_patches_that_do_not_vary_are_grey_and_two_features_are_too_few():
    assert torch.equal(patch_pca(torch.ones(1, 4, 4, 8)), torch.full((1, 4, 4, 3), 0.5))
    with pytest.raises(ValueError, match='at least 3 features in a patch, got 2'):
        patch_pca(torch.ones(1, 4, 4, 2))


def test_the_sheet_shows_each_image_beside_its_map():
    images = [np.full((20, 30, 3), level, np.uint8) for level in (50, 200)]
    colours = torch.zeros(2, 2, 3, 3)
    colours[1, 0, 2] = torch.tensor([1.0, 0.0, 0.5])
    sheet = pca_sheet(images, colours)
    assert sheet.shape == (20 + 2 + 20, 30 + 2 + 30, 3)
    assert (sheet[:20, :30] == 50).all() and (sheet[22:, :30] == 200).all()
    assert (sheet[:20, 32:] == 0).all()
    assert (sheet[22:32, 52:] == [255, 0, 128]).all() and (sheet[32:, 32:] == 0).all()
    assert (sheet[20:22] == 255).all() and (sheet[:20, 30:32] == 255).all()
    smooth = pca_sheet(images, colours, smooth=True)
    assert len(np.unique(smooth[22:, 32:, 0])) > 10
    with pytest.raises(ValueError, match='got 1 and 2'):
        pca_sheet(images[:1], colours)


def test_images_of_other_shapes_keep_theirs_beside_their_maps():
    images = [np.full((20, 30, 3), 50, np.uint8), np.full((40, 10, 3), 200, np.uint8)]
    maps = [torch.zeros(2, 3, 3), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, None]]
    sheet = pca_sheet(images, maps)
    assert sheet.shape == (20 + 2 + 40, 30 + 2 + 30, 3)
    assert (sheet[:20, :30] == 50).all() and (sheet[:20, 32:] == 0).all()
    assert (sheet[22:, :10] == 200).all() and (sheet[22:, 10:12] == 255).all()
    assert (sheet[22:42, 12:22] == [255, 0, 0]).all() and (sheet[42:, 12:22] == [0, 255, 0]).all()
    assert (sheet[22:, 22:] == 255).all()


@pytest.mark.parametrize('shapes', [[(60, 40), (40, 60), (48, 48)], [(40, 800), (800, 40)]])
def test_an_image_has_the_same_colours_among_others_of_its_own_features(shapes):
    """The network sees each in its own shape: the maps are the components of all its patches together."""
    torch.manual_seed(0)
    backbone = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    sheet = pca_of_images(backbone, images, size=24)
    scales = [min(24 / min(shape), 96 / max(shape)) for shape in shapes]
    seen = [tuple(max(1, int(scale * side / 8)) * 8 for side in shape) for scale, shape in zip(scales, shapes)]
    preprocessor = ViewPreprocessor()
    grids = []
    for image, shape in zip(images, seen):
        batch = torch.from_numpy(resize(image, *shape))[None], torch.zeros(1), None
        with torch.no_grad():
            grids.append(backbone.eval()(preprocessor(batch)['images']).patches[0])
    assert [tuple(8 * side for side in grid.shape[:2]) for grid in grids] == seen
    assert max(map(max, seen)) <= 4 * 24
    colours = patch_pca(torch.cat([grid.flatten(0, 1) for grid in grids])[None, None])[0, 0]
    gap = max(2, max(columns for _, columns in seen) // 100)
    top = first = 0
    for (rows, columns), grid in zip(seen, grids):
        number = grid.shape[0] * grid.shape[1]
        expected = colours[first : first + number].unflatten(0, grid.shape[:2])
        shown = sheet[top : top + rows, columns + gap : 2 * columns + gap][4::8, 4::8]
        assert np.abs(shown - 255 * expected.numpy()).max() <= 1
        top, first = top + rows + gap, first + number


@pytest.fixture
def run_tool(run_picture_tool):
    return functools.partial(run_picture_tool, 'visualize_features')


def test_the_tool_makes_a_picture_of_video_frames(run_tool, repository, tmp_path):
    frames = sorted((repository / 'tests/data/davis/JPEGImages/480p/blackswan').glob('*.jpg'))[:2]
    out = tmp_path / 'pictures' / 'swan.png'
    printed, _ = run_tool(*frames, '--out', out, '--size', '60')
    assert printed.split()[-1] == str(out)
    rows, columns = 56, 104  # multiples of the patch: nothing of the map belongs to padding
    picture = cv2.imread(str(out))
    assert picture.shape == (2 * rows + 2, 2 * columns + 2, 3)
    assert picture[:rows, columns + 2 :].std() > 30


def test_the_tool_takes_all_images_of_a_folder_in_the_order_of_their_names(run_tool, twelve_images, tmp_path):
    of_folder, of_files = tmp_path / 'folder.png', tmp_path / 'files.png'
    run_tool(twelve_images, '--out', of_folder, '--size', '32')
    run_tool(*sorted(twelve_images.iterdir()), '--out', of_files, '--size', '32')
    assert (cv2.imread(str(of_folder)) == cv2.imread(str(of_files))).all()
    assert cv2.imread(str(of_folder)).shape[0] == 12 * 32 + 11 * 2


def test_of_a_large_folder_the_tool_takes_some_of_all_parts_and_says_so(tmp_path, capsys):
    for number in range(48):
        (tmp_path / f'{number:02}.jpg').touch()
    assert [path.stem for path in image_paths([str(tmp_path)])] == [f'{number:02}' for number in range(0, 48, 2)]
    assert capsys.readouterr().err == '24 of 48 images, spread over all.\n'


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path, capsys):
    for number in range(1, 13):
        (tmp_path / f'{number}.jpg').touch()
    assert [path.stem for path in image_paths([str(tmp_path)])] == [str(number) for number in range(1, 13)]
    assert '2.jpg before 10.jpg' in capsys.readouterr().err


def test_a_file_or_folder_without_an_image_is_named(run_tool, repository, tmp_path, capsys):
    empty, broken = tmp_path / 'empty', tmp_path / 'broken.jpg'
    empty.mkdir()
    broken.touch()
    pipe = tmp_path / 'pipe.jpg'
    os.mkfifo(pipe)
    for path, said in (
        (empty, f'no image in {empty}'),
        (broken, f'{broken}: the file is empty'),
        ('no', 'no does not'),
        (pipe, f'{pipe}: it is a named pipe'),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool(path)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
