"""Damaged, hostile and odd images × readers: what is refused, by name and at once, and what is read all the same."""

import os
import re
import resource
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damaged_images import FORMATS, LOSSLESS, claiming, encode, exif_data, with_chunk, with_segment
from image_folders import PICTURES, copy_images, forbid
from PIL import Image, features
from torch.utils.data import DataLoader, Dataset
from video_clips import small_clips

from dino_plugin.data.images.decoding import decode_image, image_size, read_image
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.label_masks import read_mask
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.workers.dataloaders import prepare_workers
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset

PICTURE = Image.open(PICTURES[0]).convert('RGB').resize((48, 32))
SECONDS, MEGABYTES = 10, 300  # more than any refusal may take
LOAD = dict(type='dino_plugin.LoadImage')
Put = Callable[[Path], object]  # makes a damaged file at this path


# --- readers: each gets the damage and a folder, and says what became of it -------------------------------------------


def refused_by(read: Callable[[Path], object], put: Put, folder: Path) -> str:
    """A function that reads one file has to name it."""
    put(folder / 'bad.png')
    with pytest.raises(ValueError, match=r'bad\.png') as error:
        read(folder / 'bad.png')
    assert len(str(error.value)) < 1000
    return 'refused'


def training_data(put: Put, folder: Path, loader: str = 'dino_plugin.LoadImage') -> str:
    """A training goes on without the file, which is named and counted."""
    copy_images(folder, 'a.jpg', 'b.jpg', 'c.jpg')
    put(folder / 'bad.png')
    (folder / 'list.txt').write_text('a.jpg\nb.jpg\nbad.png\nc.jpg\n')
    dataset = SeededDataset(ImageDataset(folder, 'list.txt', pipeline=[dict(type=loader)], serialize_data=False))
    names = [Path(dataset[index, 0]['img_path']).name for index in range(4)]
    assert 'bad.png' not in names and dataset.undecodable_paths == [str(folder / 'bad.png')]
    return 'survived'


def clip(kind: str, put: Put, folder: Path) -> str:
    """A clip with this among its frames or masks is refused before long work starts."""
    path = sorted((small_clips(folder, ['libby'], frames=4) / kind / '480p/libby').iterdir())[2]
    path.unlink()
    put(path)
    with pytest.raises(ValueError, match=re.escape(path.name)):
        DAVISDataset(folder)
    return 'refused'


FUNCTIONS = {'read_image': read_image, 'read_mask': read_mask}
READERS = {
    **{name: partial(refused_by, function) for name, function in FUNCTIONS.items()},
    'image_size': partial(refused_by, image_size),
    'training data': training_data,
    'training data by mmcv': partial(training_data, loader='LoadImageFromFile'),
    'frame of a clip': partial(clip, 'JPEGImages'),
    'mask of a clip': partial(clip, 'Annotations'),
}
WHOLE_FILE = ('read_image', 'read_mask', 'training data')  # the others are content with a good header


# --- damage -----------------------------------------------------------------------------------------------------------


def written(data: bytes) -> Put:
    return lambda path: path.write_bytes(data)


def bomb(kind: str) -> Put:
    side = 16_383 if kind in ('WEBP', 'lossless WEBP') else 30_000
    return written(claiming(kind, side, side))


def put_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have no more than 107 bytes
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


NO_FILE = {
    'pipe': os.mkfifo,
    'link to a pipe': lambda path: (os.mkfifo(path.with_name('pipe')), path.symlink_to(path.with_name('pipe'))),
    'socket': put_socket,
    'folder': Path.mkdir,
    'link to /dev/zero': lambda path: path.symlink_to('/dev/zero'),
}
NO_IMAGE = {
    'empty': written(b''),
    'page': written(b'<!DOCTYPE html><html>404</html>'),
    'Git LFS pointer': written(b'version https://git-lfs.github.com/spec/v1\n'),
    'text': written(b'just some text'),
    'zeros': written(bytes(5000)),
    'program for Ghostscript': written(encode(PICTURE, 'EPS')),
}


def truncated(kind: str, share: float) -> Put:
    mask = PICTURE.convert('L')
    data = encode(mask, kind, **LOSSLESS.get(kind, {}))
    return written(data[: int(share * len(data))])


# --- what has to be read all the same ---------------------------------------------------------------------------------


def reads(image: Image.Image, kind: str, name: str, folder: Path, **options) -> str:
    """Header, function and training agree on it."""
    (folder / name).write_bytes(encode(image, kind, **options))
    pixels = read_image(folder / name)
    assert pixels.dtype == np.uint8 and pixels.shape[:2] == image_size(folder / name)
    (sample,) = ImageDataset(folder, extensions=('',), pipeline=[LOAD], serialize_data=False)
    assert np.array_equal(sample['img'], pixels)
    if options.get('exif'):
        turned = dict(options['exif'])[0x0112] >= 5
        assert pixels.shape[:2] == (image.size if turned else image.size[::-1])
    return 'survived'


def turned(kind: str, orientation: int, folder: Path) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / 'turned'
    path.write_bytes(encode(PICTURE, kind, exif=exif))
    assert image_size(path) == read_image(path).shape[:2] == ((48, 32) if orientation >= 5 else (32, 48))
    return 'survived'


ODD_MODES = {
    'CMYK': (PICTURE.convert('CMYK'), 'JPEG'), 'YCbCr TIFF': (PICTURE.convert('YCbCr'), 'TIFF'),
    'palette': (PICTURE.quantize(7), 'PNG'), '1 bit': (PICTURE.convert('1'), 'PNG'),
    'grey': (PICTURE.convert('L'), 'BMP'), 'grey and alpha': (PICTURE.convert('LA'), 'PNG'),
    'alpha': (PICTURE.convert('RGBA'), 'WEBP'),
    '16 bits PNG': (Image.fromarray(np.arange(1536, dtype=np.uint16).reshape(32, 48)), 'PNG'),
    '16 bits TIFF': (Image.fromarray(np.arange(1536, dtype=np.uint16).reshape(32, 48)), 'TIFF'),
    'PNG with the suffix of a JPEG': (PICTURE, 'PNG'), 'GIF': (PICTURE, 'GIF'),
}  # fmt: skip
ODD_NAMES = ['two words.jpg', 'a,b.jpg', "it's [1] {2} %s.jpg", '-r.jpg', 'é日本🦢.jpg', 'line\nbreak.jpg',
             'x' * 251 + '.jpg', os.fsdecode(b'no utf-8 \xff.jpg'), 'http:x.jpg', '~.jpg', '#1.jpg']  # fmt: skip
JPEG, PNG = encode(PICTURE, 'JPEG'), encode(PICTURE, 'PNG')
LONG_CHUNK = with_chunk(PNG, b'tEXt', b'a\0b').replace(b'\0\0\0\3tEXt', b'\x7f\xff\xff\xfftEXt')
ODD_BYTES = {
    'EXIF of no entries': with_segment(JPEG, b'Exif\0\0II*\0\xff\xff\xff\xff'),
    'EXIF cut': with_segment(JPEG, b'Exif\0\0' + exif_data(1)[:12]),
    'orientation 9': with_segment(JPEG, b'Exif\0\0' + exif_data(9)),
    'a megabyte of fill bytes': JPEG[:2] + b'\xff' * 1_000_000 + JPEG[2:],
    'bytes behind the end': JPEG + bytes(10_000),
    **{
        f'{name} that does not unpack': with_chunk(PNG, name.encode(), b'a\0\0' + bytes(50))
        for name in ('zTXt', 'iCCP')
    },
}


def reads_bytes(data: bytes, folder: Path) -> str:
    (folder / 'odd').write_bytes(data)
    assert image_size(folder / 'odd') == read_image(folder / 'odd').shape[:2] == (32, 48)
    return 'survived'


def refuses_float(folder: Path) -> str:
    with pytest.raises(ValueError, match='32-bit samples have no known range'):
        decode_image(encode(Image.fromarray(np.ones((4, 4), np.float32)), 'TIFF'))
    return 'refused'


# --- folders, lists, workers ------------------------------------------------------------------------------------------


def unreadable_folder(folder: Path) -> str:
    copy_images(folder, 'a/b.jpg', 'c/d/e.jpg')
    with pytest.MonkeyPatch.context() as patch:
        forbid(patch, folder / 'c/d')  # permissions do not stop root
        with pytest.raises(PermissionError, match=r'c/d cannot be read.*chmod'):
            ImageDataset(folder)
    return 'refused'


def circle(folder: Path) -> str:
    copy_images(folder, 'a.jpg', 'b/c.jpg')
    (folder / 'b/up').symlink_to(folder)
    (folder / 'self.jpg').symlink_to(folder / 'self.jpg')
    (folder / 'gone.jpg').symlink_to(folder / 'nowhere.jpg')
    assert len(ImageDataset(folder)) == 2
    return 'survived'


def text_list(encoding: str, folder: Path) -> str:
    copy_images(folder, 'é 1.jpg')
    (folder / 'list.txt').write_text('é 1.jpg\r\n', encoding=encoding)
    if encoding == 'latin-1':
        with pytest.raises(ValueError, match=r'list\.txt, line 1: byte 0xe9'):
            ImageDataset(folder, 'list.txt')
        return 'refused'
    assert len(ImageDataset(folder, 'list.txt')) == 1
    return 'survived'


def list_that_is_a_pipe(folder: Path) -> str:
    os.mkfifo(folder / 'list.txt')
    with pytest.raises(ValueError, match=r'list\.txt is not a regular file'):
        ImageDataset(folder, 'list.txt')
    return 'refused'


def frames_by_number(folder: Path) -> str:
    root = small_clips(folder, ['libby'], frames=4)
    for kind, ending in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
        for path, number in zip(sorted((root / kind / '480p/libby').iterdir()), (1, 2, 10, 11), strict=True):
            path.rename(path.with_name(f'{number}.{ending}'))
    assert [path.stem for path in DAVISDataset(root)[0].frames] == ['1', '2', '10', '11']
    return 'survived'


class StandsStill(Dataset):
    """Its worker reads one file, and then no more."""

    def __init__(self, path: Path, stopped: bool) -> None:
        self.path, self.stopped = path, stopped

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        read_image(self.path)
        if self.stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(2)
        return index


def stuck_worker(stopped: bool, folder: Path) -> str:
    copy_images(folder, 'a.jpg')
    loader = DataLoader(StandsStill(folder / 'a.jpg', stopped), num_workers=1, timeout=1)
    prepare_workers(loader)
    state = r'\d+, stopped' if stopped else r'\d+'
    with pytest.raises(RuntimeError, match=rf'worker 0 \(process {state}\) reads {re.escape(str(folder))}/a\.jpg'):
        next(iter(loader))
    return 'refused'


def bounded(case: Callable[[Path], str]) -> Callable[[Path], str]:
    """The case, and that it takes neither long nor much memory."""

    def run(folder: Path) -> str:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            outcome = case(folder)
        except pytest.fail.Exception as error:  # no Exception, of which the caller makes a broken promise
            raise AssertionError(str(error)) from error
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert time.monotonic() - began < SECONDS and taken < MEGABYTES, f'{taken:.0f} MB'
        return outcome

    return run


def cases() -> dict[str, Callable[[Path], str]]:
    """All of them by name."""
    import mmcv.transforms  # noqa: F401 - registers LoadImageFromFile

    import dino_plugin.engine.vocabulary  # noqa: F401 - now, since imports take memory and time

    found: dict[str, Callable[[Path], str]] = {}
    damage = {
        'PNG with a chunk that claims 2 GB': written(LONG_CHUNK),
        **{f'{kind} that claims 900 million pixels': bomb(kind) for kind in FORMATS},
        **NO_FILE,
    }
    for what, put in damage.items():
        found |= {f'{what}: {name}': partial(reader, put) for name, reader in READERS.items()}
    cut = {f'{kind} cut at {share:.0%}': truncated(kind, share)
           for kind in ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF') for share in (0.02, 0.3, 0.6, 0.9)}  # fmt: skip
    for what, put in {**NO_IMAGE, **cut}.items():
        found |= {f'{what}: {name}': partial(READERS[name], put) for name in WHOLE_FILE}
    kinds = ('JPEG', 'PNG', 'WEBP', 'TIFF', *(('AVIF',) if features.check('avif') else ()))
    found |= {f'{kind} of orientation {o}': partial(turned, kind, o) for kind in kinds for o in range(1, 9)}
    found |= {f'mode: {name}': partial(reads, *image, 'a.jpg') for name, image in ODD_MODES.items()}
    found |= {f'name: {ascii(name)[:40]}': partial(reads, PICTURE, 'JPEG', name) for name in ODD_NAMES}
    found |= {f'bytes: {name}': partial(reads_bytes, data) for name, data in ODD_BYTES.items()}
    found |= {f'list in {name}': partial(text_list, name) for name in ('utf-8', 'utf-8-sig', 'utf-16', 'latin-1')}
    found |= {
        'mode: floats': refuses_float, 'folder that cannot be read': unreadable_folder, 'links in a circle': circle,
        'list that is a pipe': list_that_is_a_pipe, 'frames 1, 2, 10, 11': frames_by_number,
        'stopped worker': partial(stuck_worker, True), 'worker that waits for its file': partial(stuck_worker, False),
    }  # fmt: skip
    return {name: bounded(case) for name, case in found.items()}
