"""The colour recipe of a view: its probabilities and ranges, and how parameters are drawn from them.

The parameters of a view are a plain record, so that colour.py and device_colour.py can do the same with them.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

Number = int | float


class ColourChange(NamedTuple):
    """The drawn parameters of one view, applied in the order of the fields.

    ``jitter`` holds pairs (``'brightness' | 'contrast' | 'saturation'``, factor) and (``'hue'``, share of the colour
    circle) in their order. ``blur_sigma=0`` means no blur, ``solarize_threshold=None`` no solarisation.
    """

    jitter: tuple[tuple[str, Number], ...] = ()
    greyscale: bool = False
    blur_sigma: Number = 0.0
    solarize_threshold: int | None = None


@dataclass(frozen=True)
class Photometric:
    """The colour recipe of one kind of view; the defaults are what DINO's views have in common.

    Brightness, contrast, saturation and hue are jittered together, in random order, with factors uniform in
    [max(0, 1 - x), 1 + x] and a hue shift uniform in [-hue, hue].

    Args:
        jitter_probability: Probability of jitter.
        brightness: Half width x of the range of the factor; 0 leaves brightness alone, as for the next two.
        contrast: Half width; the contrast to the mean grey level of the view.
        saturation: Half width.
        hue: Largest shift, as a share of the colour circle, in [0, 0.5].
        greyscale_probability: Probability of replacing the colours by their luma.
        blur_probability: Probability of a Gaussian blur: to blur, not to keep.
        blur_sigma: Range of its standard deviation, in pixels of the view.
        solarize_probability: Probability of inverting the pixels at and above the threshold.
        solarize_threshold: Grey level in [0, 256].

    Raises:
        ValueError: If a value is outside its range.
    """

    jitter_probability: Number = 0.8
    brightness: Number = 0.4
    contrast: Number = 0.4
    saturation: Number = 0.2
    hue: Number = 0.1
    greyscale_probability: Number = 0.2
    blur_probability: Number = 0.0
    blur_sigma: Sequence[Number] = (0.1, 2.0)
    solarize_probability: Number = 0.0
    solarize_threshold: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith('_probability') and not 0 <= value <= 1:
                raise ValueError(f'Photometric: {field.name} is a probability in [0, 1], got {value}')
        for name, most in dict(brightness=math.inf, contrast=math.inf, saturation=math.inf, hue=0.5).items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f'Photometric: {name} is a half width in [0, {most}], got {getattr(self, name)}')
        if len(self.blur_sigma) != 2 or not 0 <= self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError(f'Photometric: blur_sigma is a range (least, most) in pixels, got {self.blur_sigma}')
        if not 0 <= self.solarize_threshold <= 256:
            raise ValueError(f'Photometric: solarize_threshold is in [0, 256], got {self.solarize_threshold}')

    def draw(self) -> ColourChange:
        """Parameters for one view, from the global generator of ``random``."""
        jitter = self._draw_jitter() if _happens(self.jitter_probability) else ()
        greyscale = _happens(self.greyscale_probability)
        sigma = random.uniform(*self.blur_sigma) if _happens(self.blur_probability) else 0.0
        threshold = self.solarize_threshold if _happens(self.solarize_probability) else None
        return ColourChange(jitter, greyscale, sigma, threshold)

    def _draw_jitter(self) -> tuple[tuple[str, float], ...]:
        jitter = [
            (name, random.uniform(max(0.0, 1 - width), 1 + width))
            for name, width in (
                ('brightness', self.brightness),
                ('contrast', self.contrast),
                ('saturation', self.saturation),
            )
            if width
        ]
        if self.hue:
            jitter.append(('hue', random.uniform(-self.hue, self.hue)))
        random.shuffle(jitter)
        return tuple(jitter)


def _happens(probability: Number) -> bool:
    return random.random() < probability


class Recipe(NamedTuple):
    """The colour recipes of the three kinds of view."""

    global_1: Photometric
    global_2: Photometric
    local: Photometric


_ANY_CHANNEL = Photometric(saturation=0, hue=0, greyscale_probability=0.0)
_NO_COLOUR = Photometric(jitter_probability=0.0, greyscale_probability=0.0)
PRESETS = {
    'paper': Recipe(
        global_1=Photometric(blur_probability=1.0),
        global_2=Photometric(blur_probability=0.1, solarize_probability=0.2),
        local=Photometric(blur_probability=0.5),
    ),
    'as_trained': Recipe(
        global_1=Photometric(blur_probability=0.0),
        global_2=Photometric(blur_probability=0.9, solarize_probability=0.2),
        local=Photometric(blur_probability=0.5),
    ),
    'none': Recipe(_NO_COLOUR, _NO_COLOUR, _NO_COLOUR),
    'channels': Recipe(
        global_1=replace(_ANY_CHANNEL, blur_probability=1.0),
        global_2=replace(_ANY_CHANNEL, blur_probability=0.1),
        local=replace(_ANY_CHANNEL, blur_probability=0.5),
    ),
}


def colour_recipe(photometric: Any) -> Recipe:
    """A recipe from the name of a preset, or from a preset and changes to it.

    ``'paper'`` always blurs global view 1, blurs global view 2 with probability 0.1 and local views with 0.5.
    ``'as_trained'`` is what the released code of DINOv2 and DINOv3 does, where the probability to blur is inverted:
    0.0, 0.9 and 0.5. Both solarise global view 2 with probability 0.2. ``'channels'`` is ``'paper'`` without what only
    red, green and blue have: saturation, hue, greyscale and solarisation. ``'none'`` leaves the colours alone.

    A mapping starts from ``preset`` (``'paper'`` unless given). A field of :class:`Photometric` changes all three kinds
    of view; ``global_1``, ``global_2`` and ``local`` hold fields that change one of them::

        dict(preset='paper', blur_sigma=(0.02, 0.43), global_2=dict(solarize_probability=0.0))

    Raises:
        ValueError: If a preset, a kind of view or a field is unknown, or a value is out of range.
        TypeError: If ``photometric`` or the entry of a view is of another type.

    References:
        Caron et al. 2021, arXiv:2104.14294, with the parameters of BYOL (Grill et al. 2020, arXiv:2006.07733, table 6).
        On the inverted probability: github.com/facebookresearch/dinov3, issue 286.
    """
    if isinstance(photometric, str):
        photometric = dict(preset=photometric)
    if not isinstance(photometric, Mapping):
        raise TypeError(
            f'photometric is one of {", ".join(map(repr, PRESETS))} or a dict of changes to one, '
            f'got {type(photometric).__name__}'
        )
    changes = dict(photometric)
    preset = changes.pop('preset', 'paper')
    if preset not in PRESETS:
        raise ValueError(f'photometric: unknown preset {preset!r}; there are {", ".join(map(repr, PRESETS))}')
    of_view = {kind: changes.pop(kind, {}) for kind in Recipe._fields}
    return Recipe(*(_changed(getattr(PRESETS[preset], kind), kind, changes, of_view[kind]) for kind in Recipe._fields))


def _changed(base: Photometric, kind: str, shared: Mapping[str, Any], own: Any) -> Photometric:
    if not isinstance(own, Mapping):
        raise TypeError(f'photometric: {kind} is a dict of fields of Photometric, got {own!r}')
    changes = {**shared, **own}
    known = [field.name for field in fields(Photometric)]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise ValueError(
            f'photometric: unknown {", ".join(map(str, unknown))}; '
            f'there are preset, {", ".join(Recipe._fields)}, {", ".join(known)}'
        )
    return replace(base, **changes)
