"""Checks of a checkpoint file and its content: damaged bytes, claims beyond the file, values that are not finite."""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

ALLOW_NONFINITE = 'DINO_PLUGIN_ALLOW_NONFINITE'
_SHOWN_KEYS = 5
# A tensor may repeat its values (`expand`), so it can be larger than its file; but not by much.
_LARGEST_REPETITION, _SMALL = 4, 1 << 26  # times; bytes


def check_archive(file: Path | BytesIO) -> None:
    """Checks the zip archive of a PyTorch file before it is read; files of the old format are no archives.

    PyTorch does not compare checksums, and it would unpack a compressed record of any size.

    Raises:
        ValueError: If a record is compressed, larger than the file, or its checksum differs.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError('its records are compressed, which PyTorch never does')
        if sum(record.file_size for record in records) > num_bytes(file):
            raise ValueError('its records are larger than the file')
        damaged = [record.filename for record in records if not _checksum_fits(archive, record)]
    # torch.serialization.set_crc32_options(False) writes no valid checksum at all.
    if damaged and len(damaged) < len(records):
        raise ValueError(f'the checksum of {", ".join(damaged[:_SHOWN_KEYS])} differs')


def check_claims(content: Any, file_bytes: int) -> None:
    """Refuses tensors and arrays that claim much more memory than the file has.

    Raises:
        ValueError: With the name of the first.
    """
    for name, value in _arrays(content):
        if value.nbytes > max(_SMALL, _LARGEST_REPETITION * file_bytes):
            raise ValueError(f'{name} claims {value.nbytes:,} bytes, the file has {file_bytes:,}')


def check_finite(content: Any, name: str) -> None:
    """Refuses tensors with infinite values or values that are not numbers, anywhere in a checkpoint.

    Args:
        content: Of a checkpoint, or a state dict.
        name: Of the file, or of the state, in the message.

    Raises:
        ValueError: With the first names, unless the environment variable `DINO_PLUGIN_ALLOW_NONFINITE` is set.
    """
    if os.environ.get(ALLOW_NONFINITE):
        return
    if found := [key for key, value in _arrays(content) if isinstance(value, Tensor) and not is_finite(value)]:
        more = f' and {len(found) - _SHOWN_KEYS} more' if len(found) > _SHOWN_KEYS else ''
        raise ValueError(
            f'{name} holds infinite values, or values that are no numbers, in {", ".join(found[:_SHOWN_KEYS])}{more}. '
            'Take an earlier checkpoint; to load this one anyway, set the environment variable '
            f'{ALLOW_NONFINITE}=1.'
        )


def is_finite(value: Tensor) -> bool:
    """Whether all values are finite numbers; those of integers and of tensors without memory are."""
    if value.is_meta or not (value.is_floating_point() or value.is_complex()):
        return True
    if value.is_floating_point() and value.element_size() == 1:
        value = value.float()  # PyTorch has no test for 8 bits
    return bool(torch.isfinite(value).all())


def num_bytes(file: Path | BytesIO) -> int:
    """Length of a file or of a buffer."""
    if isinstance(file, Path):
        return file.stat().st_size
    position = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(position)
    return length


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _checksum_fits(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(record) as content:
            while content.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _arrays(content: Any, name: str = '') -> Iterator[tuple[str, Tensor | numpy.ndarray]]:
    if isinstance(content, Tensor) and content.layout is not torch.strided:
        return  # PyTorch itself checks the indices of sparse tensors
    if isinstance(content, Tensor | numpy.ndarray):
        yield name or 'the value', content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _arrays(value, f'{name}.{key}' if name else str(key))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _arrays(value, f'{name}.{index}' if name else str(index))
