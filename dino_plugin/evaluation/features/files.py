"""Features of a folder of images as a file for other programs, written part by part."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.evaluation.features.cache import cache_key
from dino_plugin.evaluation.features.extraction import stream_features
from dino_plugin.evaluation.features.names import refuse_other_than_utf8, write_names
from dino_plugin.evaluation.progress import progress

SUFFIXES = ('.safetensors', '.npy', '.parquet')


class Written(NamedTuple):
    """What `write_features` wrote, and the images that could not be read."""

    out: Path
    shape: tuple[int, ...]
    failed: list[str]


def write_features(
    backbone: nn.Module,
    dataset: Any,
    out: str | Path,
    features: str = 'class',
    num_blocks: int = 1,
    batch_size: int = 64,
    num_workers: int = 2,
    part: int = 1024,
    autocast_dtype: torch.dtype | None = None,
    preprocessor: ViewPreprocessor | None = None,
) -> Written:
    """Writes the features of all images of a data set, and the name of each row's image.

    Images that cannot be read have no row. A call that was interrupted goes on after its last whole part, if network,
    images and settings are the same; parts are kept in the folder `OUT.parts` until all are there.

    Args:
        backbone: As in `stream_features`, which has the next arguments, too.
        dataset: An `ImageDataset` whose pipeline ends in `PackImage`.
        out: `.safetensors` (tensor `features`) or `.npy`, each with the names of the rows in a `.txt` of the same name;
            or `.parquet` (columns `file` and `features`; patch grids are flattened, their shape is in the metadata),
            which needs pyarrow.
        features: `class`, `mean`, `class+mean`, or `patches`, whose images must all have one size.
        batch_size: Images at a time.
        num_workers: Processes that read images.
        part: Images between two parts on the disk.
        preprocessor: On the backbone's device. Default: ImageNet's mean and deviation.

    Raises:
        ValueError: If the suffix is unknown, no image can be read, or a name does not fit into a `.parquet`.
        ImportError: If pyarrow is missing; before anything is computed.
    """
    out = Path(out).expanduser()
    if out.suffix not in SUFFIXES:
        raise ValueError(f'{out}: the name must end in one of {", ".join(SUFFIXES)}.')
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    if out.suffix == '.parquet':
        import pyarrow  # noqa: F401

        refuse_other_than_utf8([info['img_path'] for info in infos], 'Parquet files')
    parts = out.with_name(f'{out.name}.parts')
    steps = [(type(step).__name__, vars(step)) for step in dataset.pipeline.transforms]
    levels = [preprocessor.mean.tolist(), preprocessor.std.tolist()] if preprocessor else None
    done = _prepare(parts, cache_key(backbone, infos, [features, num_blocks, str(autocast_dtype), steps, levels]))
    rest = Subset(_Numbered(dataset), range(done, len(dataset)))
    loader = DataLoader(rest, batch_size, num_workers=num_workers, collate_fn=_collate_readable)
    batches = (batch for batch in progress(loader, f'features of {len(rest)} images') if batch is not None)
    rows, numbers = [], []
    for found, indices in stream_features(backbone, batches, features, preprocessor, autocast_dtype, num_blocks):
        rows.append(found.cpu())
        numbers.append(indices.cpu())
        if sum(map(len, rows)) >= part:
            _write_part(parts, rows, numbers)
    if rows:
        _write_part(parts, rows, numbers)
    written = _join(parts, out, [info['img_path'] for info in infos])
    shutil.rmtree(parts)
    return written


class _Numbered(Dataset):
    """Images with their number in place of a label; None for those that cannot be read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str] | None:
        try:
            image, _, path = self.dataset[index]
        except (UndecodableImageError, OSError):
            return None
        return image, index, path


def _collate_readable(samples: Sequence[tuple | None]) -> tuple | None:
    readable = [sample for sample in samples if sample is not None]
    return image_collate(readable) if readable else None


def _prepare(parts: Path, key: str | None) -> int:
    """An empty folder, or one of the same features; the number of images that are done."""
    note = parts / 'key.txt'
    if parts.is_dir() and not (note.is_file() and note.read_text() == key):
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    note.write_text(str(key))
    return max((int(path.stem) for path in parts.glob('*.safetensors')), default=0)


def _write_part(parts: Path, rows: list[Tensor], numbers: list[Tensor]) -> None:
    """Writes the rows, and empties the lists; the name is the number of images until here."""
    content = dict(features=torch.cat(rows), numbers=torch.cat(numbers))
    rows.clear()
    numbers.clear()
    path = parts / f'{int(content["numbers"].max()) + 1:012d}.safetensors'
    save_file(content, path.with_suffix('.unfinished'))
    path.with_suffix('.unfinished').rename(path)


def _join(parts: Path, out: Path, names: Sequence[str]) -> Written:
    """One file from all parts. A `.npy` is written without holding all rows in memory."""
    files = sorted(parts.glob('*.safetensors'))
    if not files:
        raise ValueError(f'None of {len(names)} images can be read, among them {names[0]}.')
    numbers = torch.cat([load_file(file)['numbers'] for file in files]).tolist()
    readable = [names[number] for number in numbers]
    shape = (len(numbers), *load_file(files[0])['features'].shape[1:])
    unfinished = out.with_name(f'{out.name}.unfinished')
    if out.suffix == '.npy':
        array = np.lib.format.open_memmap(unfinished, 'w+', np.float32, shape)
        first = 0
        for file in files:
            rows = load_file(file)['features'].numpy()
            array[first : first + len(rows)] = rows
            first += len(rows)
        array.flush()
    else:
        rows = torch.cat([load_file(file)['features'] for file in files])
        _write_parquet(rows, readable, unfinished) if out.suffix == '.parquet' else save_file(
            {'features': rows}, unfinished
        )
    unfinished.rename(out)
    if out.suffix != '.parquet':
        write_names(out.with_suffix('.txt'), readable)
    return Written(out, shape, sorted(set(names) - set(readable)))


def _write_parquet(rows: Tensor, names: list[str], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    flat = rows.flatten(start_dim=1).numpy()
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat.reshape(-1)), flat.shape[1])
    table = pyarrow.table({'file': pyarrow.array(names), 'features': vectors})
    shape = ','.join(map(str, rows.shape[1:]))
    parquet.write_table(table.replace_schema_metadata({'shape': shape}), path)
