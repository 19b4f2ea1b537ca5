"""Tables of images and of pairs, by Daft: on this machine, or on the cluster that Daft's runner is set to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped


def import_daft() -> Any:
    """The module, without its progress bars and its messages to its authors.

    Raises:
        ImportError: With the cure, if it is missing.
    """
    os.environ.setdefault('DAFT_PROGRESS_BAR', '0')
    os.environ.setdefault('DO_NOT_TRACK', 'true')
    try:
        import daft
    except ImportError as error:
        raise ImportError("Curation needs Daft: pip install 'dino_plugin[curation]'.") from error
    return daft


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """A Parquet file that has its name only when it is whole."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(dict(columns)), path.with_suffix('.unfinished'))
    path.with_suffix('.unfinished').replace(path)


def read_table(path: Path) -> Any:
    """A Daft data frame of a file, or of all files of a folder, that are not read before they are needed."""
    return import_daft().read_parquet(str(path / '*.parquet' if path.is_dir() else path))


def column(frame: Any, name: str) -> Shaped[np.ndarray, ' rows']:
    """One column of a Daft data frame, computed."""
    return frame.select(name).to_arrow().column(name).to_numpy()


def distinct_pairs(folder: Path) -> Int[np.ndarray, 'pairs 2']:
    """Each pair of images in the tables of a folder once, the smaller number first."""
    daft = import_daft()
    image, other = daft.col('image'), daft.col('other')
    frame = read_table(folder).where(image < other).select(image.alias('first'), other.alias('second'))
    swapped = read_table(folder).where(image > other).select(other.alias('first'), image.alias('second'))
    found = frame.concat(swapped).distinct().to_arrow()
    return np.stack([found.column(name).to_numpy() for name in ('first', 'second')], 1)


def images_to_keep(images: Path, held_out: Path | None) -> Int[np.ndarray, ' kept']:
    """The first image of each group that is like no held-out image, ascending.

    Args:
        images: The table with the columns `image` and `group`.
        held_out: Folder of tables with the column `image`: those that are left out. None: none.
    """
    daft = import_daft()
    frame = read_table(images).select('image', 'group')
    if held_out is not None:
        frame = frame.join(read_table(held_out).select('image').distinct(), on='image', how='anti')
    return np.sort(column(frame.groupby('group').agg(daft.col('image').min()), 'image'))


def write_chosen(images: Path, weights: Path, folder: Path) -> int:
    """The chosen images: `chosen.parquet` with path and weight, and `chosen.txt`, where a path stands as often as its
    weight says; the number of lines.

    Args:
        images: The table with the columns `image` and `path`.
        weights: A table with the columns `image`, `weight`, `retrieved`.
        folder: Where they are written.
    """
    frame = read_table(images).select('image', 'path').join(read_table(weights), on='image').sort('image')
    table = frame.to_arrow()
    write_table(folder / 'chosen.parquet', {name: table.column(name) for name in table.column_names})
    repeated = np.repeat(table.column('path').to_numpy(), table.column('weight').to_numpy())
    (folder / 'chosen.txt').write_text(''.join(f'{path}\n' for path in repeated), encoding='utf-8')
    return len(repeated)
