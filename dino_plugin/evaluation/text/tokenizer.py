"""Texts as numbers of byte pairs, as CLIP cuts them."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor

CONTEXT = 77
_SPECIAL = re.compile('<(start|end)_of_text>', re.IGNORECASE)  # in a caption they would end it


class TokenisedTexts(NamedTuple):
    """Tokens of some texts.

    Attributes:
        tokens: Start, text, end, then zeros.
        truncated: Whose end was cut off.
    """

    tokens: Int[Tensor, 'texts context']
    truncated: Bool[Tensor, ' texts']


class Tokenizer:
    """Lower-case texts -> 49,408 byte pairs; any text of Unicode has some.

    The vocabulary lies in the package `open_clip_torch`: nothing is downloaded.

    Args:
        context_length: Tokens of a text, start and end included. What is longer is cut off.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If the length has no place for a text.
    """

    def __init__(self, context_length: int = CONTEXT) -> None:
        if context_length < 3:
            raise ValueError(f'context_length={context_length}: start, text and end need 3 tokens or more.')
        self.context_length = context_length
        self._tokenizer = _byte_pairs()
        self.vocab_size: int = self._tokenizer.vocab_size

    def __call__(self, texts: Sequence[str]) -> TokenisedTexts:
        """Tokens of each text."""
        texts = [_SPECIAL.sub(' ', text) for text in texts]
        tokens = self._tokenizer(texts, self.context_length + 1)  # one more, to see what is too long
        truncated = tokens[:, -1] != 0
        tokens = tokens[:, :-1].clone()
        tokens[truncated, -1] = self._tokenizer.eot_token_id
        return TokenisedTexts(tokens, truncated)


@cache
def _byte_pairs() -> Any:
    return open_clip().tokenizer.SimpleTokenizer()  # reads its vocabulary for a third of a second


def open_clip() -> Any:
    """The package, which takes seconds to import.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError('Texts need: pip install "dino_plugin[text]"') from error
    return open_clip
