"""All stages in their order: embeddings, near-duplicates, clusters, and the choice with what is like the seeds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from safetensors.torch import load_file, save_file

from dino_plugin.curation.duplicates import find_pairs, groups_of_pairs
from dino_plugin.curation.hierarchy import Level, empty_clusters, hierarchical_kmeans
from dino_plugin.curation.plan import Plan
from dino_plugin.curation.retrieval import clusters_of_seeds, nearest_of_seeds
from dino_plugin.curation.rows import Rows, names_of_rows, open_rows
from dino_plugin.curation.sampling import balanced_sample
from dino_plugin.curation.search import build_index
from dino_plugin.curation.stages import Stages
from dino_plugin.curation.tables import (
    column,
    distinct_pairs,
    images_to_keep,
    import_daft,
    read_table,
    write_chosen,
    write_table,
)
from dino_plugin.data.sources.index_writing import write_index_of
from dino_plugin.data.sources.member_paths import read_member_path
from dino_plugin.data.sources.shard_index import INDEX
from dino_plugin.evaluation.retrieval.whitening import fit_whitening

WHITENED = 65536  # images by which embeddings are whitened

Source = tuple[Mapping[str, Any], Callable[[Path], Mapping[str, Any]]]


def curate(plan: Plan, folder: str | Path, sources: Mapping[str, Source], device: str | torch.device = 'cpu') -> Stages:
    """Runs all stages below a folder and gives their results; `chosen/chosen.txt` there is a list to train on, and for
    images in shards the folder `chosen` holds an index, with which `ShardDataset` reads them from there.

    All processes of a run call it, with one folder for all.

    Args:
        plan: What is chosen.
        folder: Of the stages; what earlier runs have done there is not done again.
        sources: `images`, and perhaps `held_out` and `seeds`: settings of the embeddings, and what writes them into a
            folder, such as `write_shards`.
        device: Of the computations.

    Raises:
        ValueError: If there are fewer images than asked for, or as in the functions of the stages.
    """
    import_daft()  # a missing one is told before long work
    stages = Stages(folder)

    def embedded(name: str) -> Rows:
        settings, embed = sources[name]
        stages.run(f'embeddings_{name}', settings, embed, costly=True)
        return open_rows(stages.folder / f'embeddings_{name}', device, name)

    rows = {name: embedded(name) for name in ('images', 'held_out') if name in sources}
    own = plan.of('duplicates', 'held_out', 'whiten', 'neighbours', 'index')
    stages.run('duplicates', own, lambda out: _duplicates(plan, stages.folder, out, rows))
    kept = rows['images'].subset(np.load(stages.folder / 'duplicates/kept.npy', mmap_mode='r'))
    plan.refuse_impossible(len(kept))
    own = dict(plan.of('iterations', 'resamples', 'seed'), clusters=plan.clusters_of(len(kept)))
    stages.run('clusters', own, lambda out: _clusters(plan, out, kept))
    seeds = embedded('seeds') if 'seeds' in sources else None  # here, as the stages before do not depend on them
    own = plan.of('keep', 'per_seed', 'per_cluster', 'nearest_first', 'repeats')
    stages.run('chosen', own, lambda out: _choose(plan, stages.folder, out, kept, seeds))
    return stages


def _duplicates(plan: Plan, folder: Path, out: Path, rows: Mapping[str, Rows]) -> dict[str, Any]:
    if plan.whiten:
        whitening = fit_whitening(rows['images'].sample(WHITENED, plan.seed))
        rows = {name: part.whitened(whitening) for name, part in rows.items()}
    images = rows['images']
    if plan.duplicates <= 1:
        index = build_index(images, plan.index_of(len(images)), out / 'images.faiss')
        find_pairs(images, images, out / 'pairs', plan.neighbours, plan.duplicates, index)
    if 'held_out' in rows:
        find_pairs(rows['held_out'], images, out / 'near_held_out', 1, plan.held_out)
    if not is_main_process():
        return {}
    pairs = distinct_pairs(out / 'pairs') if plan.duplicates <= 1 else np.zeros((0, 2), int)
    group, names = groups_of_pairs(pairs, len(images)), names_of_rows(folder / 'embeddings_images')
    write_table(out / 'images.parquet', dict(image=np.arange(len(images)), path=names, group=group))
    near = out / 'near_held_out' if 'held_out' in rows else None
    kept = images_to_keep(out / 'images.parquet', near)
    np.save(out / 'kept.npy', kept)
    near_held_out = len(column(read_table(near), 'image')) if near else 0
    return dict(images=len(images), pairs=len(pairs), near_held_out=near_held_out, left=len(kept))


def _clusters(plan: Plan, out: Path, kept: Rows) -> dict[str, Any]:
    clusters = plan.clusters_of(len(kept))
    levels = hierarchical_kmeans(kept, clusters, plan.iterations, plan.resamples, plan.seed, out)
    if is_main_process():
        for number, level in enumerate(levels, 1):
            tensors = {name: part.cpu().contiguous() for name, part in level._asdict().items()}
            save_file(tensors, out / f'level_{number}.safetensors')
    return dict(clusters=clusters, empty=empty_clusters(levels))


def read_levels(folder: Path) -> list[Level]:
    """The levels that the stage `clusters` has written."""
    return [Level(**load_file(file)) for file in sorted(folder.glob('level_*.safetensors'))]


def _choose(plan: Plan, folder: Path, out: Path, kept: Rows, seeds: Rows | None) -> dict[str, Any]:
    levels = read_levels(folder / 'clusters')
    retrieved = np.zeros(len(kept), bool)
    if seeds is not None and plan.per_seed:
        index = build_index(kept, plan.index_of(len(kept)), out / 'kept.faiss')
        retrieved[nearest_of_seeds(kept, seeds, plan.per_seed, index)] = True
    if seeds is not None:
        first = levels[0]._replace(centres=levels[0].centres.to(kept.device))
        retrieved[clusters_of_seeds(first, seeds, plan.per_cluster, seed=plan.seed)] = True
    if not is_main_process():
        return {}
    weight = balanced_sample(levels, plan.keep, plan.seed, plan.nearest_first, plan.repeats)
    weight[retrieved] = weight[retrieved].clip(min=1)
    chosen = np.flatnonzero(weight)
    columns = dict(image=np.asarray(kept.numbers)[chosen], weight=weight[chosen], retrieved=retrieved[chosen])
    write_table(out / 'weights.parquet', columns)
    np.save(out / 'weight.npy', weight)
    lines = write_chosen(folder / 'duplicates/images.parquet', out / 'weights.parquet', out)
    paths = (out / 'chosen.txt').read_text(encoding='utf-8').split('\n')[:-1]
    if read_member_path(paths[0]):
        write_index_of(paths, str(out / INDEX))
    return dict(balanced=plan.keep, retrieved=int(retrieved.sum()), images=len(chosen), lines=lines)
