"""Pickle files of lists, dicts, numbers, texts and numpy arrays, read without running anything that they name.

Pickle is a language that calls what a file names. Here a file may name what numpy writes for its arrays, and gets
stand-ins for it: classes of this file, which keep the bytes until they have been checked. numpy's own functions for
pickles are never called.
"""

import io
import pickle
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np


class _StandIn:
    """A class that a pickle may call; nothing can be set in it or in what it makes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('unexpected state')


class _Type(_StandIn):
    """numpy.dtype: numbers and texts alone."""

    __slots__ = ('name', 'order')

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode('ascii') if isinstance(name, bytes) else str(name)
        if text[:1] not in 'biufUS' or not text[1:].isdecimal():
            raise pickle.UnpicklingError(f'arrays of type {text!r}')
        self.name = text
        self.order = '='

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = {'>': '>', '<': '<'}.get(order.decode('ascii') if isinstance(order, bytes) else order, '=')

    def values(self, data: Any, shape: Any, order: str) -> np.ndarray:
        """A new array of the bytes; the shape must use all of them."""
        data = data.encode('latin1') if isinstance(data, str) else bytes(data)
        return np.frombuffer(data, np.dtype(self.order + self.name)).reshape(shape, order=order).copy()


class _Array(_StandIn):
    """numpy.ndarray, and the function that makes an empty one."""

    __slots__ = ('array',)

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.array = kind.values(data, shape, 'F' if fortran else 'C')


class _Buffer(_Array):
    """numpy's function for arrays in pickles of protocol 5."""

    __slots__ = ()

    def __init__(self, data: Any, kind: _Type, shape: Any, order: str) -> None:
        self.array = kind.values(data, shape, order)


class _Number(_Array):
    """numpy's function for single numbers."""

    __slots__ = ()

    def __init__(self, kind: _Type, data: Any) -> None:
        self.array = kind.values(data, (), 'C')


class _Latin1(_StandIn):
    """codecs.encode: how old protocols write bytes."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> bytes:
        if encoding != 'latin1':
            raise pickle.UnpicklingError(f'bytes in {encoding!r}')
        return str(text).encode('latin1')


class _NoBytes(_StandIn):
    """bytes(): how old protocols write an empty one."""

    __slots__ = ()

    def __new__(cls) -> bytes:
        return b''


_ALLOWED = {('numpy', 'dtype'): _Type, ('numpy', 'ndarray'): _Array, ('_codecs', 'encode'): _Latin1}
_ALLOWED |= {('builtins', 'bytes'): _NoBytes, ('__builtin__', 'bytes'): _NoBytes}
for _core in ('numpy.core', 'numpy._core'):
    _ALLOWED |= {
        (f'{_core}.multiarray', '_reconstruct'): _Array,
        (f'{_core}.multiarray', 'scalar'): _Number,
        (f'{_core}.numeric', '_frombuffer'): _Buffer,
    }


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f'the file wants to call {module}.{name}')
        return _ALLOWED[module, name]


def read_plain_pickle(data: bytes) -> Any:
    """The lists, tuples, dicts, numbers, texts, bytes and arrays of a pickle; arrays are numpy's.

    Args:
        data: The whole file; texts of Python 2 count as Latin-1.

    Raises:
        ValueError: If it is no pickle, is damaged, or holds or calls anything else.
    """
    try:
        return _plain(_PlainUnpickler(io.BytesIO(data), encoding='latin1').load(), count(), 4 * len(data))
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(f'not a pickle of plain lists, numbers and arrays: {error}') from error


def _plain(value: Any, values: Iterator[int], most: int) -> Any:
    """The value with arrays in place of the stand-ins.

    A value takes a byte of the file or more. A small file whose lists hold each other many times has many more values.
    """
    if next(values) > most:
        raise pickle.UnpicklingError(f'more than {most} values, which hold each other again and again')
    if isinstance(value, dict):
        return {_plain(key, values, most): _plain(entry, values, most) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry, values, most) for entry in value)
    if isinstance(value, _Array):
        return value.array
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise pickle.UnpicklingError(f'a value of type {type(value).__name__}')
