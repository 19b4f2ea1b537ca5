"""The page of a curation: sizes, near-duplicates, clusters, and how equal they are before and after."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, Shaped, UInt8
from matplotlib.figure import Figure

from dino_plugin.curation.hierarchy import clusters_of_images
from dino_plugin.curation.run import read_levels
from dino_plugin.curation.tables import column, read_table
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.views.resizing import resize
from dino_plugin.visualization.contact_sheet import contact_sheet

ROWS, COLUMNS, SIDE = 8, 8, 96  # of the sheets; pixels of a picture
STYLE = (
    'body{font:16px sans-serif;max-width:60em;margin:2em auto} td,th{padding:.2em 1em;text-align:left} '
    'img{max-width:100%}'
)


def write_page(folder: Path, results: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes `page.html`, one file that holds its pictures.

    Args:
        folder: Of the stages.
        results: Of the stages, by their names.
    """
    frame = read_table(folder / 'duplicates/images.parquet').sort('image')
    paths, group = (column(frame, name) for name in ('path', 'group'))
    kept, weight = np.load(folder / 'duplicates/kept.npy'), np.load(folder / 'chosen/weight.npy')
    levels = read_levels(folder / 'clusters')
    cluster, clusters = clusters_of_images(levels), len(levels[-1].centres)
    before, after = (np.bincount(cluster, weights, minlength=clusters) for weights in (None, weight))
    equal = f'Entropy of their shares, 1 if all are equal: {evenness(before):.3f} before, {evenness(after):.3f} after.'
    parts = [
        _table(results),
        *_sheet('Near-duplicates: random groups, of each the first stays', _groups(paths, group)),
        *_sheet('The pairs next to the threshold', _pairs(folder / 'duplicates/pairs', paths)),
        *_sheet('Clusters, from the largest to the smallest', _clusters(paths[kept], cluster, before, after)),
        f'<h2>Clusters of the last level</h2><p>{equal}</p>{_picture(_png(before, after), "png")}',
    ]
    out = folder / 'page.html'
    out.write_text(
        f'<!doctype html><meta charset="utf-8"><title>Curation</title><style>{STYLE}</style>{"".join(parts)}',
        encoding='utf-8',
    )
    return out


def evenness(sizes: Shaped[np.ndarray, ' groups']) -> float:
    """Entropy of the shares over that of equal shares: 1 if all groups have the same size, 0 if one has all."""
    shares = np.asarray(sizes, float) / np.sum(sizes)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(max(2, len(sizes)))) + 0.0


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ''.join(
        f'<tr><th>{name}</th><td>{html.escape(", ".join(f"{key} {value}" for key, value in result.items()))}</td></tr>'
        for name, result in results.items()
    )
    return f'<h1>Curation</h1><table>{rows}</table>'


def _groups(paths: np.ndarray, group: Int[np.ndarray, ' images']) -> dict[str, Sequence[str]]:
    firsts, sizes = np.unique(group, return_counts=True)
    several = np.random.default_rng(0).permutation(firsts[sizes > 1])[:ROWS]
    members = {first: np.flatnonzero(group == first) for first in several.tolist()}
    return {f'{len(images)} images': paths[images[:COLUMNS]].tolist() for images in members.values()}


def _pairs(folder: Path, paths: np.ndarray) -> dict[str, Sequence[str]]:
    if not folder.is_dir():
        return {}
    frame = read_table(folder).sort('similarity').limit(2 * ROWS).to_pydict()  # most pairs were found from both sides
    found = {tuple(sorted(pair)): near for *pair, near in zip(*(frame[n] for n in ('image', 'other', 'similarity')))}
    return {
        f'{near:.4f}: {pair[0]} and {pair[1]}': paths[list(pair)].tolist() for pair, near in list(found.items())[:ROWS]
    }


def _clusters(
    paths: np.ndarray, cluster: Int[np.ndarray, ' images'], before: np.ndarray, after: np.ndarray
) -> dict[str, Sequence[str]]:
    order = np.flatnonzero(before)[np.argsort(-before[before > 0], kind='stable')]
    shown = order[np.unique(np.linspace(0, len(order) - 1, ROWS).round().astype(int))]
    members = {
        number: np.random.default_rng(0).permutation(np.flatnonzero(cluster == number)) for number in shown.tolist()
    }
    return {
        f'{number}: {int(before[number])} images, {int(after[number])} chosen': paths[images[:COLUMNS]].tolist()
        for number, images in members.items()
    }


def _sheet(title: str, rows: Mapping[str, Sequence[str]]) -> list[str]:
    pictures = {label: [_thumbnail(path) for path in paths] for label, paths in rows.items()}
    if not pictures:
        return []
    sheet = cv2.cvtColor(contact_sheet(list(pictures.values()), list(pictures)), cv2.COLOR_RGB2BGR)
    return [f'<h2>{title}</h2>', _picture(cv2.imencode('.jpg', sheet)[1].tobytes(), 'jpeg')]


def _thumbnail(path: str) -> UInt8[np.ndarray, 'rows columns 3']:
    try:
        return resize(read_image(path), SIDE, SIDE)
    except (UndecodableImageError, OSError):  # moved since
        return np.full((SIDE, SIDE, 3), 255, np.uint8)


def _png(before: np.ndarray, after: np.ndarray) -> bytes:
    figure, file = Figure(figsize=(8, 3), layout='constrained'), io.BytesIO()
    axes, order = figure.subplots(), np.argsort(-before, kind='stable')
    for sizes, label in ((before, 'before'), (after, 'after')):
        axes.step(range(len(order)), 100 * sizes[order] / sizes.sum(), where='mid', label=label)
    axes.set(xlabel='cluster', ylabel='share of the images, %')
    axes.legend()
    figure.savefig(file, dpi=110)
    return file.getvalue()


def _picture(content: bytes, kind: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
