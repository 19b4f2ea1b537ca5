"""Pickles of plain data are read; nothing that a file names is called."""

import io
import pickle
import struct

import numpy as np
import pytest

from dino_plugin.evaluation.retrieval.plain_pickle import read_plain_pickle

DATA = {
    'imlist': ['a', 'é', 'c'], 'number': 3, 'share': 0.5, 'none': None, 'yes': True, 'raw': b'\x00\xff',
    'pair': (1, [2, 3]), 'array': np.arange(6), 'floats': np.linspace(0, 1, 4, dtype=np.float32),
    'matrix': np.asfortranarray(np.arange(6, dtype='>i2').reshape(2, 3)), 'scalar': np.int32(7),
    'empty': np.array([]), 'names': np.array(['x', 'yz']),
}  # fmt: skip


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_come_back(protocol):
    found = read_plain_pickle(pickle.dumps(DATA, protocol))
    assert list(found) == list(DATA)
    for name, value in DATA.items():
        if isinstance(value, (np.ndarray, np.generic)):
            assert isinstance(found[name], np.ndarray) and found[name].shape == np.shape(value)
            assert np.array_equal(found[name], value), name
            assert found[name].dtype == np.asarray(value).dtype
        else:
            assert found[name] == value and type(found[name]) is type(value)


def test_names_of_older_and_newer_numpy_are_known():
    data = pickle.dumps(np.arange(3), 2)
    here, there = b'numpy.core', b'numpy._core'
    other = data.replace(there, here) if there in data else data.replace(here, there)
    assert other != data
    assert np.array_equal(read_plain_pickle(other), [0, 1, 2])


def test_a_file_of_python_2_is_read():
    """Its texts are bytes, those of arrays too."""
    texts = b'\x80\x02}(U\x06imlist](U\x03abceU\x04easy'
    array = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02t'
    numbers = b'cnumpy\ndtype\n(U\x02i8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
    values = b'U\x10' + struct.pack('<2q', 5, 250) + b'tbu.'
    found = read_plain_pickle(texts + array + numbers + values)
    assert found['imlist'] == ['abc'] and found['easy'].tolist() == [5, 250]


class Calls:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def setting(target, state):
    """A pickle that changes an object that it names."""
    out = io.BytesIO()
    pickler = pickle._Pickler(out, 2)
    module, name = target
    out.write(b'\x80\x02' + f'c{module}\n{name}\n'.encode())
    pickler.save(state)
    out.write(b'b.')
    return out.getvalue()


HOSTILE = {
    'a command': pickle.dumps(Calls(exec, 'raise SystemExit')),
    'a module': b'cos\nsystem\n(S"true"\ntR.',
    'an inner name': b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
    'another class of numpy': pickle.dumps(np.ma.masked_array([1, 2])),
    'an array of objects': pickle.dumps(np.array([[1], 'x'], dtype=object)),
    'a record': pickle.dumps(np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8')])),
    'a date': pickle.dumps(np.array(['2020-01-01'], dtype='datetime64')),
    'a set': pickle.dumps({1, 2}),
    'a complex number': pickle.dumps(1j),
    'another encoding': b"c_codecs\nencode\n(Vabc\nVzlib_codec\ntR.",
    'a change of the reader': setting(('numpy.core.multiarray', '_reconstruct'), (None, {'__init__': 3})),
    'a change of a type': setting(('numpy', 'dtype'), (None, {'__setstate__': 3})),
    'a type itself': b'cnumpy\nndarray\n.',
    'the end is missing': pickle.dumps(DATA)[:-20],
    'nothing': b'',
    'a text': b'{"imlist": []}',
}  # fmt: skip


@pytest.mark.parametrize('what', HOSTILE)
def test_other_files_are_refused_and_change_nothing(what):
    with pytest.raises(ValueError, match='not a pickle of plain lists'):
        read_plain_pickle(HOSTILE[what])
    assert np.array_equal(read_plain_pickle(pickle.dumps(DATA))['array'], np.arange(6))


def test_lists_that_hold_each_other_again_and_again_are_refused():
    """Fifty lines that would be a million times a thousand million values."""
    value = [1]
    for _ in range(50):
        value = [value, value]
    with pytest.raises(ValueError, match='again and again'):
        read_plain_pickle(pickle.dumps(value))
    value = []
    value.append(value)
    with pytest.raises(ValueError, match='not a pickle'):
        read_plain_pickle(pickle.dumps(value))


@pytest.mark.parametrize('shape', [(3,), (2**62,), (-1, 5)])
def test_an_array_that_says_another_size_than_it_has_is_refused(shape):
    data = pickle.dumps(np.arange(2), 2)
    with pytest.raises(ValueError, match='not a pickle'):
        read_plain_pickle(_with_shape(data, shape))


def _with_shape(data, shape):
    out = io.BytesIO()
    pickle._Pickler(out, 2).save(shape)
    before = b'K\x02\x85'  # (2,)
    place = data.index(b'K\x01' + before) + 2
    return data[:place] + out.getvalue() + data[place + len(before) :]
