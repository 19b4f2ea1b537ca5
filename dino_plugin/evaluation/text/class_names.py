"""Names of classes, and the sentences that are made of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.utils import get_object_from_string

from dino_plugin.data.images.image_files import first
from dino_plugin.data.images.user_files import read_lines
from dino_plugin.evaluation.text.tokenizer import open_clip

Names = str | Sequence[str]
Template = str | Callable[[str], str]


def class_names(source: Names) -> list[str]:
    """Names in the order of their labels.

    Args:
        source: The names; or a text file with one in each line; or the dotted path of a list of names or of a data set
            with ``METAINFO``, such as ``open_clip.IMAGENET_CLASSNAMES`` or ``mmseg.datasets.ADE20KDataset``.

    Raises:
        ValueError: If there is no name, one has neither letter nor digit, or the path leads nowhere.
    """
    names = _named(source) if isinstance(source, str) else list(source)
    if not names:
        raise ValueError(f'classes={source!r} are none: name each class, in the order of the labels.')
    wrong = [place for place, name in enumerate(names) if not isinstance(name, str) or not any(map(str.isalnum, name))]
    if wrong:
        raise ValueError(
            f'classes: the name of class {wrong[0]} is {names[wrong[0]]!r}; a name is a text with a letter or a digit. '
            'Correct it in the list of classes.'
        )
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        print_log(f'classes of the same name are the same for texts: {first(twice)}', 'current', level=30)
    return names


def templates_of(source: str | Sequence[Template]) -> list[Template]:
    """Sentences with a place for a name.

    Args:
        source: Texts with ``{}``, or functions of the name; or the dotted path of a list of them, such as
            ``open_clip.OPENAI_IMAGENET_TEMPLATES``, CLIP's eighty.

    Raises:
        ValueError: If there is none, or a text has no ``{}``.
    """
    found = list(_imported(source) if isinstance(source, str) else source)
    wrong = [template for template in found if not callable(template) and '{}' not in template]
    if wrong or not found:
        raise ValueError(
            f'templates: {wrong[0]!r} has no place for the name; write it as {{}}: "a photo of a {{}}."'
            if wrong
            else 'templates are none: ["a photo of a {}."] is one.'
        )
    return found


def filled(template: Template, name: str) -> str:
    """The sentence about a class."""
    return template(name) if callable(template) else template.replace('{}', name)


def _named(source: str) -> list[str]:
    if Path(source).suffix == '.txt':
        return [line for _, line in read_lines(source)]
    found = _imported(source)
    return list(found.METAINFO['classes'] if hasattr(found, 'METAINFO') else found)


def _imported(path: str) -> Any:
    if path.startswith('open_clip.'):
        open_clip()  # its message says what to install
    try:
        found = get_object_from_string(path)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is None:
        raise ValueError(
            f'{path!r} cannot be found: expected a list, a file NAMES.txt, or a dotted path such as '
            'open_clip.IMAGENET_CLASSNAMES or mmseg.datasets.ADE20KDataset.'
        )
    return found
