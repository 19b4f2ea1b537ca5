"""What happens to copies of an image: cut, compressed, blurred, written on, turned, printed; mild or strong."""

import zlib
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

Image = UInt8[np.ndarray, '_ _ 3']
Attack = Callable[[Image, np.random.Generator, float], Image]

STRENGTHS = {'mild': 0, 'strong': 1}
WORDS = ('SALE TODAY', 'me and my friends', 'breaking news', 'LOL', 'copyright 2026', 'wait for it ...')


def attack_image(
    image: UInt8[np.ndarray, '_ _ 3'], name: str, seed: int = 0, number: int = 0
) -> UInt8[np.ndarray, '_ _ 3']:
    """A copy of an image after an attack; the same for the same seed and number, in any process and order.

    Args:
        image: RGB.
        name: One of `ATTACKS` such as `crop-mild`: crop (70 or 30 % of the area), jpeg (quality 30 or 5), blur
            (Gaussian, 1 or 4 % of the shorter side), noise (Gaussian, 12 or 45 levels), text (a line, or lines and a
            bar over 40 % of the height), rotation (4 to 10 or 20 to 45 degrees, black corners), print (perspective,
            paler, uneven light, softer, grain, JPEG).
        seed: Of the random numbers.
        number: Of the image: each one is cut at another place.

    Raises:
        ValueError: If there is no attack of this name.
    """
    if name not in ATTACKS:
        raise ValueError(f'There is no attack {name!r}. Choose of {", ".join(ATTACKS)}.')
    kind, strength = name.split('-')
    generator = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
    return np.ascontiguousarray(KINDS[kind](image, generator, STRENGTHS[strength]))


def crop(image: Image, generator: np.random.Generator, strength: float) -> Image:
    side = (0.7 - 0.4 * strength) ** 0.5
    rows, columns = (max(1, round(side * length)) for length in image.shape[:2])
    top = generator.integers(0, image.shape[0] - rows + 1)
    left = generator.integers(0, image.shape[1] - columns + 1)
    return image[top : top + rows, left : left + columns]


def jpeg(image: Image, generator: np.random.Generator, strength: float) -> Image:
    quality = round(30 - 25 * strength)
    data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def blur(image: Image, generator: np.random.Generator, strength: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), max(0.3, (0.01 + 0.03 * strength) * min(image.shape[:2])))


def noise(image: Image, generator: np.random.Generator, strength: float) -> Image:
    return _levels(image + generator.normal(0, 12 + 33 * strength, image.shape))


def text(image: Image, generator: np.random.Generator, strength: float) -> Image:
    written = image.copy()
    rows, columns = image.shape[:2]
    if strength:
        top = int(generator.integers(0, max(1, round(0.6 * rows))))
        written[top : top + round(0.4 * rows)] = generator.integers(0, 256, 3)
    for _ in range(round(1 + 3 * strength)):
        words = str(generator.choice(WORDS))
        (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_DUPLEX, 1, 2)
        scale = generator.uniform(0.5, 0.95) * columns / width
        colour = [int(level) for level in generator.integers(0, 256, 3)]
        corner = (round(0.02 * columns), int(generator.integers(0, rows)) + round(scale * height / 2))
        cv2.putText(
            written, words, corner, cv2.FONT_HERSHEY_DUPLEX, scale, colour, max(1, round(2 * scale)), cv2.LINE_AA
        )
    return written


def rotation(image: Image, generator: np.random.Generator, strength: float) -> Image:
    angle = generator.uniform(4 + 16 * strength, 10 + 35 * strength) * generator.choice([-1, 1])
    rows, columns = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), float(angle), 1)
    return cv2.warpAffine(image, turn, (columns, rows), flags=cv2.INTER_LINEAR)


def printed(image: Image, generator: np.random.Generator, strength: float) -> Image:
    """A print that somebody photographed: from the side, paler, in uneven light, a little soft, with grain."""
    rows, columns = image.shape[:2]
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    moved = corners + generator.uniform(-1, 1, (4, 2)) * (0.03 + 0.09 * strength) * [columns, rows]
    view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    paper = tuple(float(level) for level in generator.integers(150, 240, 3))
    seen = cv2.warpPerspective(image, view, (columns, rows), flags=cv2.INTER_LINEAR, borderValue=paper)
    pale = 128 + (seen - 128.0) * (0.85 - 0.35 * strength) + 20 * strength
    light = 1 + (0.1 + 0.3 * strength) * np.linspace(-1, 1, columns)[None, :, None] * generator.choice([-1, 1])
    soft = cv2.GaussianBlur(_levels(pale * light), (0, 0), max(0.3, (0.004 + 0.008 * strength) * min(rows, columns)))
    grainy = _levels(soft + generator.normal(0, 4 + 8 * strength, soft.shape))
    return jpeg(grainy, generator, 0.3 + 0.5 * strength)


def _levels(values: np.ndarray) -> Image:
    return values.round().clip(0, 255).astype(np.uint8)


KINDS: dict[str, Attack] = {
    'crop': crop, 'jpeg': jpeg, 'blur': blur, 'noise': noise, 'text': text, 'rotation': rotation, 'print': printed,
}  # fmt: skip
ATTACKS = tuple(f'{kind}-{strength}' for strength in STRENGTHS for kind in KINDS)
