import math
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from pillow_images import IMAGES, SMALL_IMAGES, pillow_colours

from dino_plugin.data.views.colour import apply_colour_change, blur, shift_hue
from dino_plugin.data.views.photometric import PRESETS, ColourChange, Photometric, colour_recipe


def changed(image, change):
    image = image.copy()
    apply_colour_change(image, change)
    return image


def error(image, change):
    """Mean absolute difference in grey levels."""
    return np.abs(changed(image, change).astype(float) - pillow_colours(image, change)).mean()


def within(count, draws, probability):
    """Within four and a half standard deviations of the binomial distribution."""
    return abs(count - draws * probability) <= 4.5 * math.sqrt(draws * probability * (1 - probability))


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation'])
@pytest.mark.parametrize('factor', [0.2, 0.6, 0.85, 1.0, 1.15, 1.4])
def test_each_operation_of_the_jitter_is_that_of_pillow(name, factor):
    assert max(error(image, ColourChange(jitter=((name, factor),))) for image in IMAGES) < 0.8


@pytest.mark.parametrize('shift', [-0.5, -0.1, -0.031, 0.002, 0.05, 0.1, 0.4])
def test_hue_is_that_of_pillow(shift):
    assert max(error(image, ColourChange(jitter=(('hue', shift),))) for image in IMAGES) < 0.8


def test_greyscale_is_that_of_pillow():
    assert max(error(image, ColourChange(greyscale=True)) for image in IMAGES) < 0.1


@pytest.mark.parametrize('threshold', [0, 1, 128, 255, 256])
def test_solarisation_is_exactly_that_of_pillow(threshold):
    assert max(error(image, ColourChange(solarize_threshold=threshold)) for image in IMAGES) == 0


@pytest.mark.parametrize('sigma', [0.02, 0.1, 0.2, 0.3, 0.43, 0.6, 0.9, 1.0, 1.3, 1.7, 2.0])
@pytest.mark.parametrize('images', [IMAGES, SMALL_IMAGES], ids=['large', 'small'])
def test_blur_is_that_of_pillow(images, sigma):
    assert max(error(image, ColourChange(blur_sigma=sigma)) for image in images) < 1


def test_a_drawn_jitter_in_any_order_stays_within_a_grey_level_of_pillow():
    random.seed(0)
    photometric = Photometric(jitter_probability=1.0, greyscale_probability=0.2)
    assert max(error(image, photometric.draw()) for image in IMAGES for _ in range(12)) < 1


def test_all_operations_together_are_done_in_the_order_of_the_paper():
    random.seed(0)
    photometric = Photometric(jitter_probability=1.0, greyscale_probability=0.2, blur_probability=1.0)
    assert max(error(image, photometric.draw()) for image in IMAGES for _ in range(6)) < 1.2
    # Solarisation makes a difference of one level at the threshold a large one, hence the mean over images.
    photometric = Photometric(blur_probability=1.0, solarize_probability=1.0)
    assert np.mean([error(image, photometric.draw()) for image in IMAGES for _ in range(6)]) < 2


def test_saturated_pixels_do_not_come_back():
    white = np.full((8, 8, 3), 200, np.uint8)
    white[:4] = 20
    change = ColourChange(jitter=(('brightness', 1.4), ('brightness', 0.5)))
    assert np.array_equal(changed(white, change)[4:], np.full((4, 8, 3), 127, np.uint8))  # 255 / 2, not 280 / 2


def test_no_change_leaves_every_pixel():
    assert all(np.array_equal(changed(image, ColourChange()), image) for image in IMAGES)


def test_operations_write_into_the_memory_they_are_given():
    block = torch.zeros((3, 160, 160, 3), dtype=torch.uint8)
    for change in (
        ColourChange(jitter=(('brightness', 0.5),)),
        ColourChange(jitter=(('hue', 0.1),)),
        ColourChange(greyscale=True),
        ColourChange(blur_sigma=1.5),
        ColourChange(solarize_threshold=100),
    ):
        block[1] = torch.from_numpy(IMAGES[0])
        apply_colour_change(block.numpy()[1], change)
        assert np.array_equal(block[1].numpy(), changed(IMAGES[0], change))
        assert not np.array_equal(block[1].numpy(), IMAGES[0])
        assert not block[0].any() and not block[2].any()


def test_grey_pixels_have_no_hue_to_shift():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(5, axis=1)
    shifted = grey.copy()
    shift_hue(shifted, 0.1)
    assert np.array_equal(shifted, grey)


@pytest.mark.parametrize('sigma', [0.0, 0.05, 0.3, 1.0, 1.99])
def test_blur_keeps_the_brightness_of_a_flat_area(sigma):
    for level in (0, 1, 100, 254, 255):
        flat = np.full((20, 30, 3), level, np.uint8)
        blur(flat, sigma)
        assert (flat == level).all()


@pytest.mark.parametrize('sigma', [0.4, 1.0, 2.0])
def test_sigma_is_the_standard_deviation_of_the_blur(sigma):
    line = np.zeros((1, 61, 3), np.uint8)
    line[:, 30] = 255
    image = np.repeat(line, 61, axis=0)
    blur(image, sigma)
    weights = image[30, :, 0] / image[30, :, 0].sum()
    offsets = np.arange(61) - 30
    assert (weights * offsets).sum() == pytest.approx(0, abs=1e-9)
    assert math.sqrt((weights * offsets**2).sum()) == pytest.approx(sigma, rel=0.05)


def test_draws_happen_as_often_as_their_probabilities_say():
    random.seed(1)
    draws = 4000
    photometric = Photometric(blur_probability=0.1, solarize_probability=0.35)
    changes = [photometric.draw() for _ in range(draws)]
    assert within(sum(bool(change.jitter) for change in changes), draws, 0.8)
    assert within(sum(change.greyscale for change in changes), draws, 0.2)
    assert within(sum(change.blur_sigma > 0 for change in changes), draws, 0.1)
    assert within(sum(change.solarize_threshold == 128 for change in changes), draws, 0.35)
    both = sum(bool(change.jitter) and change.greyscale for change in changes)
    assert within(both, draws, 0.16), 'jitter and greyscale are independent'


def test_drawn_values_fill_their_ranges_evenly():
    random.seed(2)
    photometric = Photometric(jitter_probability=1.0, blur_probability=1.0)
    changes = [photometric.draw() for _ in range(3000)]
    ranges = dict(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), blur=(0.1, 2.0))
    for name, (least, most) in ranges.items():
        drawn = [change.blur_sigma if name == 'blur' else dict(change.jitter)[name] for change in changes]
        assert least <= min(drawn) < least + 0.01 * (most - least)
        assert most - 0.01 * (most - least) < max(drawn) <= most
        assert within(sum(value < (3 * least + most) / 4 for value in drawn), len(drawn), 0.25)


def test_every_order_of_the_jitter_is_equally_likely():
    random.seed(3)
    photometric = Photometric(jitter_probability=1.0)
    orders = Counter(tuple(name for name, _ in photometric.draw().jitter) for _ in range(4800))
    assert len(orders) == 24
    assert all(within(count, 4800, 1 / 24) for count in orders.values())


def test_a_range_of_zero_takes_the_operation_out():
    random.seed(0)
    photometric = Photometric(jitter_probability=1.0, brightness=0, saturation=0, hue=0)
    assert {name for _ in range(50) for name, _ in photometric.draw().jitter} == {'contrast'}


def test_draws_depend_on_the_seed_of_random_alone():
    photometric = Photometric(blur_probability=0.5, solarize_probability=0.5)
    random.seed(7)
    first = [photometric.draw() for _ in range(20)]
    random.seed(7)
    np.random.seed(1)
    torch.manual_seed(1)
    assert [photometric.draw() for _ in range(20)] == first


def test_the_presets_blur_as_the_paper_and_as_the_released_code():
    paper, trained, none = (colour_recipe(name) for name in ('paper', 'as_trained', 'none'))
    assert [view.blur_probability for view in paper] == [1.0, 0.1, 0.5]
    assert [view.blur_probability for view in trained] == [0.0, 0.9, 0.5]
    assert (
        [view.solarize_probability for view in paper] == [view.solarize_probability for view in trained] == [0, 0.2, 0]
    )
    random.seed(0)
    assert all(view.draw() == ColourChange() for view in none for _ in range(50))


@pytest.mark.parametrize('preset', ['paper', 'as_trained'])
def test_blur_and_solarisation_are_as_frequent_as_the_preset_says(preset):
    random.seed(4)
    recipe = colour_recipe(preset)
    expected = dict(paper=(1.0, 0.1, 0.5), as_trained=(0.0, 0.9, 0.5))[preset]
    for kind, blurred, solarised in zip(('global_1', 'global_2', 'local'), expected, (0.0, 0.2, 0.0)):
        changes = [getattr(recipe, kind).draw() for _ in range(500)]
        assert within(sum(change.blur_sigma > 0 for change in changes), 500, blurred)
        assert within(sum(change.solarize_threshold is not None for change in changes), 500, solarised)


def test_a_recipe_says_only_what_differs_from_a_preset():
    recipe = colour_recipe(dict(blur_sigma=(0.02, 0.43), global_2=dict(solarize_probability=0.0)))
    assert all(view.blur_sigma == (0.02, 0.43) for view in recipe)
    assert [view.blur_probability for view in recipe] == [1.0, 0.1, 0.5]
    assert recipe.global_2.solarize_probability == 0
    assert recipe.global_1.hue == PRESETS['paper'].global_1.hue
    assert colour_recipe(dict(preset='as_trained')) == PRESETS['as_trained']
    own = colour_recipe(dict(hue=0.2, local=dict(hue=0.0)))
    assert [view.hue for view in own] == [0.2, 0.2, 0.0], 'a view of its own outweighs what all share'


@pytest.mark.parametrize(
    ('photometric', 'message'),
    [
        ('papers', "unknown preset 'papers'; there are 'paper'"),
        (dict(preset='v2'), 'unknown preset'),
        (dict(blur=0.3), 'unknown blur; there are preset, global_1.*blur_probability'),
        (dict(local=dict(global_1=0)), 'unknown global_1'),
        (dict(hue=0.6), r'hue is a half width in \[0, 0.5\], got 0.6'),
        (dict(brightness=-0.1), 'brightness is a half width'),
        (dict(jitter_probability=80), r'jitter_probability is a probability in \[0, 1\], got 80'),
        (dict(blur_sigma=(2.0, 0.1)), r'blur_sigma is a range \(least, most\)'),
        (dict(blur_sigma=(0.1, 1.0, 2.0)), 'blur_sigma is a range'),
        (dict(solarize_threshold=300), 'solarize_threshold is in'),
    ],
)
def test_an_impossible_recipe_is_refused_with_what_is_possible(photometric, message):
    with pytest.raises(ValueError, match=message):
        colour_recipe(photometric)


@pytest.mark.parametrize(
    ('photometric', 'message'), [(dict(local=0.5), 'local is a dict of fields'), (3, 'or a dict.*got int')]
)
def test_a_recipe_of_another_type_is_refused(photometric, message):
    with pytest.raises(TypeError, match=message):
        colour_recipe(photometric)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match='there are brightness, contrast, saturation and hue'):
        changed(IMAGES[0], ColourChange(jitter=(('sharpness', 1.0),)))


def test_threads_of_opencv_do_not_change_a_pixel():
    change = ColourChange((('hue', 0.05), ('saturation', 1.2), ('contrast', 0.7)), blur_sigma=1.2)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = changed(IMAGES[0], change)
        cv2.setNumThreads(2)
        assert np.array_equal(changed(IMAGES[0], change), one)
    finally:
        cv2.setNumThreads(before)
