"""The batched colours of a device are those of the worker and of Pillow, view by view."""

import functools
import inspect
import random

import numpy as np
import pytest
import torch
from pillow_images import IMAGES, pillow_colours

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views import device_colour
from dino_plugin.data.views.colour import apply_colour_change, blur_kernel, blur_taps
from dino_plugin.data.views.device_colour import change_colours, shift_hue
from dino_plugin.data.views.photometric import ColourChange, Photometric
from dino_plugin.data.views.unfinished_views import KERNEL, Unfinished, colour_row

TAPS = blur_taps(2.0)


def levels_of(images):
    return torch.stack([torch.from_numpy(image) for image in images]).movedim(-1, 1).float()


def on_device(images, changes, taps=TAPS):
    """Each image with its own change, all in one batch."""
    rows = torch.tensor([colour_row(change, taps) for change in changes], dtype=torch.float32)
    return change_colours(levels_of(images), rows).movedim(1, -1).numpy()


def in_worker(image, change):
    image = image.copy()
    apply_colour_change(image, change)
    return image.astype(float)


def errors(changes):
    """Mean absolute differences to the worker's and to Pillow's views; every change meets every image."""
    images, changes = IMAGES * len(changes), [change for change in changes for _ in IMAGES]
    found = on_device(images, changes)
    theirs = [(in_worker(*pair), pillow_colours(*pair)) for pair in zip(images, changes)]
    return np.array([[np.abs(view - other).mean() for other in pair] for view, pair in zip(found, theirs)])


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation'])
def test_each_blend_is_that_of_pillow_level_by_level(name):
    found = errors([ColourChange(jitter=((name, factor),)) for factor in (0.0, 0.2, 0.85, 1.0, 1.4)])
    assert found[:, 0].max() <= 1
    assert found[:, 1].max() < 0.02, 'Pillow truncates, and so does the device'


def test_hue_is_that_of_the_worker_and_of_pillow():
    assert errors([ColourChange(jitter=(('hue', shift),)) for shift in (-0.5, -0.1, 0.002, 0.05, 0.4)]).max() < 0.8


def test_greyscale_and_solarisation_are_those_of_pillow():
    changes = [ColourChange(solarize_threshold=threshold) for threshold in (0, 1, 128, 255, 256)]
    assert errors([ColourChange(greyscale=True)]).max() < 0.1
    assert errors(changes).max() == 0


def test_blur_is_that_of_the_worker_and_of_pillow():
    found = errors([ColourChange(blur_sigma=sigma) for sigma in (0.02, 0.2, 0.43, 0.9, 1.3, 2.0)])
    assert found[:, 0].max() < 0.3, 'the same kernel'
    assert found[:, 1].max() < 1


def test_a_drawn_jitter_in_any_order_stays_within_a_grey_level():
    random.seed(0)
    photometric = Photometric(jitter_probability=1.0, greyscale_probability=0.2)
    assert errors([photometric.draw() for _ in range(8)]).max() < 1


def test_all_operations_are_done_in_the_order_of_the_paper():
    random.seed(1)
    photometric = Photometric(jitter_probability=1.0, greyscale_probability=0.2, blur_probability=1.0)
    to_worker, to_pillow = errors([photometric.draw() for _ in range(4)]).max(axis=0)
    assert to_worker < 1
    assert to_pillow < 1.2
    # Solarisation makes a difference of one level at the threshold a large one, hence the mean over images.
    photometric = Photometric(blur_probability=1.0, solarize_probability=1.0)
    assert errors([photometric.draw() for _ in range(4)]).mean() < 2


def test_no_change_leaves_every_level():
    assert np.array_equal(on_device(IMAGES, [ColourChange()] * len(IMAGES)), np.stack(IMAGES))


def test_a_view_does_not_depend_on_the_others_of_the_batch():
    random.seed(2)
    photometric = Photometric(blur_probability=0.5, solarize_probability=0.3)
    changes = [photometric.draw() for _ in IMAGES]
    together = on_device(IMAGES, changes)
    alone = [on_device([image], [change])[0] for image, change in zip(IMAGES, changes)]
    assert np.abs(together - np.stack(alone)).max() <= 1


def test_saturated_levels_do_not_come_back_and_grey_has_no_hue():
    white = np.full((4, 4, 3), 200, np.uint8)
    change = ColourChange(jitter=(('brightness', 1.4), ('brightness', 0.5)))
    assert (on_device([white], [change]) == 127).all()
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert np.array_equal(on_device([grey], [ColourChange(jitter=(('hue', 0.1),))])[0], grey)


def test_a_third_of_the_colour_circle_exchanges_the_channels():
    levels = levels_of(IMAGES)
    turned = shift_hue(levels, torch.full((len(IMAGES), 1, 1, 1), 256 / 3))
    assert (turned - levels[:, [2, 0, 1]]).abs().max() < 1


def test_the_levels_are_not_written_to():
    levels = levels_of(IMAGES[:1])
    before = levels.clone()
    change = ColourChange((('contrast', 0.5), ('hue', 0.1)), True, 1.0, 100)
    change_colours(levels, torch.tensor([colour_row(change, TAPS)], dtype=torch.float32))
    assert torch.equal(levels, before)


def test_no_shape_and_no_branch_depends_on_what_was_drawn():
    """On the meta device there are no numbers to look at: whatever waited for one would fail."""
    colours = torch.empty((6, KERNEL + TAPS), device='meta')
    assert change_colours(torch.empty((6, 3, 20, 24), device='meta'), colours).shape == (6, 3, 20, 24)


@pytest.fixture
def graphs(monkeypatch):
    """The compiled graphs, by a compiler that needs no time; the type checker of the tests would break them."""
    compiled_graphs = []

    def backend(graph, inputs):
        compiled_graphs.append(graph)
        return graph.forward

    for name in ('luma', 'blend', 'shift_hue'):
        monkeypatch.setattr(device_colour, name, inspect.unwrap(getattr(device_colour, name)))
    monkeypatch.setattr(torch, 'compile', functools.partial(torch.compile, backend=backend, fullgraph=True))
    for forget in (torch._dynamo.reset, device_colour._compiled.cache_clear):
        forget()
    yield compiled_graphs
    for forget in (torch._dynamo.reset, device_colour._compiled.cache_clear):
        forget()


def unfinished_views(sizes, batch):
    """Two views of each size, of random pixels, with all operations."""
    photometric = Photometric(jitter_probability=1.0, greyscale_probability=0.2, blur_probability=0.5)
    rows = [[colour_row(photometric.draw(), TAPS) for _ in range(batch)] for _ in range(2 * len(sizes))]
    blocks = (torch.randint(0, 256, (2, batch, size, size, 3), dtype=torch.uint8) for size in sizes)
    return ViewBatch(*blocks, unfinished=Unfinished(torch.tensor(rows, dtype=torch.float32)))


def test_compiled_colours_are_the_same_and_other_sizes_and_batches_need_no_new_graph(graphs):
    plain, compiled = ViewPreprocessor(mean=[0] * 3, std=[1] * 3), ViewPreprocessor([0] * 3, [1] * 3, True)
    numbers = []
    for sizes, batch in (((24, 16), 3), ((24, 16), 3), ((20, 12), 3), ((24, 16), 5), ((28, 20), 2)):
        views = unfinished_views(sizes, batch)
        expected = plain(views)['views']
        assert len(graphs) == (numbers[-1] if numbers else 0), 'by default nothing is compiled'
        found = compiled(views)['views']
        for name in ('global_views', 'local_views'):
            assert (getattr(found, name) - getattr(expected, name)).abs().mean() < 0.01
        numbers.append(len(graphs))
    assert numbers == [2] * 5, 'one of blends, one of hues'


@pytest.mark.parametrize('most', [0.0, 0.1, 0.5, 1.0, 2.0, 5.0])
def test_the_number_of_taps_is_enough_for_every_smaller_blur(most):
    sizes = [len(blur_kernel(most * share / 50)) for share in range(51)]
    assert max(sizes) <= blur_taps(most)
    rows = [colour_row(ColourChange(blur_sigma=most * share / 10), blur_taps(most)) for share in range(11)]
    assert {len(row) for row in rows} == {KERNEL + blur_taps(most)}
    assert all(sum(row[KERNEL:]) == 1 and row[KERNEL:] == row[KERNEL:][::-1] for row in rows)


@pytest.mark.parametrize(
    'jitter',
    [(('sharpness', 1.0),), (('hue', 0.1), ('hue', 0.1)), (('brightness', 1.1),) * 4],
    ids=['unknown', 'two hues', 'four blends'],
)
def test_a_jitter_that_is_never_drawn_is_refused(jitter):
    with pytest.raises(ValueError, match=r"3 of brightness, contrast, saturation.*use split='worker'"):
        colour_row(ColourChange(jitter=jitter), 1)
