"""Near-duplicates and retrieval: planted copies, chains, held-out images; an index against the exact search."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dino_plugin.curation.duplicates import find_pairs, groups_of_pairs
from dino_plugin.curation.hierarchy import Level
from dino_plugin.curation.page import evenness
from dino_plugin.curation.retrieval import clusters_of_seeds, nearest_of_seeds
from dino_plugin.curation.rows import Rows
from dino_plugin.curation.search import build_index, search
from dino_plugin.curation.tables import column, distinct_pairs, images_to_keep, read_table, write_chosen, write_table


def unit(*shape, seed=0):
    return normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float(), dim=-1).numpy()


def test_neighbours_are_those_of_all_comparisons_for_any_chunks():
    bank, queries = unit(90, 6), unit(40, 6, seed=1)
    expected = (torch.from_numpy(queries) @ torch.from_numpy(bank).T).topk(5)
    for chunk in (7, 33, 200):
        found = list(search(Rows([bank], chunk=chunk), Rows([queries], chunk=chunk), 5))
        assert [part.first for part in found] == list(range(0, 40, chunk))
        assert torch.equal(torch.cat([part.number for part in found]), expected.indices)
        torch.testing.assert_close(torch.cat([part.similarity for part in found]), expected.values)


def test_an_index_finds_the_copies_that_the_exact_search_finds(tmp_path):
    pytest.importorskip('faiss', reason='faiss is not installed (the extra "index")')
    images = unit(3000, 16)
    rows = Rows([np.concatenate([images, images[:200] + 0.01 * unit(200, 16, seed=1)])], unit=True, chunk=500)
    pairs = []
    for description in ('exact', 'IVF16,Flat'):
        index = build_index(rows, description, tmp_path / 'index.faiss')
        find_pairs(rows, rows, tmp_path / description, 3, 0.95, index)
        pairs.append({tuple(pair) for pair in distinct_pairs(tmp_path / description).tolist()})
    assert pairs[0] == {(number, 3000 + number) for number in range(200)}
    assert pairs[1] == pairs[0]
    with pytest.raises(ValueError, match="'IVF' is no index of faiss's factory"):
        build_index(rows, 'IVF', tmp_path / 'other.faiss')


def test_an_interrupted_search_goes_on_where_it_was(tmp_path):
    rows = Rows([unit(60, 3)], chunk=20)
    find_pairs(rows, rows, tmp_path / 'whole', 4, 0.8)
    find_pairs(rows, rows, tmp_path / 'again', 4, 0.8)
    (tmp_path / 'again/000000000020.parquet').unlink()
    times = {file.name: file.stat().st_mtime_ns for file in (tmp_path / 'again').iterdir()}
    find_pairs(rows, rows, tmp_path / 'again', 4, 0.8)
    assert np.array_equal(*(np.sort(distinct_pairs(tmp_path / name), 0) for name in ('whole', 'again')))
    assert all((tmp_path / 'again' / name).stat().st_mtime_ns == time for name, time in times.items())
    with pytest.raises(ValueError, match=r'threshold=1.5 is a cosine'):
        find_pairs(rows, rows, tmp_path, 4, 1.5)


def test_a_chain_of_pairs_is_one_group_and_its_first_image_that_is_not_held_out_stays(tmp_path):
    """0-5-2 and 3-4 are groups, 1 is alone; 0 and 1 are like held-out images."""
    group = groups_of_pairs(np.array([[0, 5], [2, 5], [3, 4]]), 6)
    assert group.tolist() == [0, 1, 0, 3, 3, 0]
    assert groups_of_pairs(np.zeros((0, 2), int), 3).tolist() == [0, 1, 2]
    write_table(tmp_path / 'images.parquet', dict(image=np.arange(6), group=group, path=list('abcdef')))
    write_table(tmp_path / 'held_out/0.parquet', dict(image=np.array([0, 1, 1])))
    assert images_to_keep(tmp_path / 'images.parquet', None).tolist() == [0, 1, 3]
    assert images_to_keep(tmp_path / 'images.parquet', tmp_path / 'held_out').tolist() == [2, 3]
    weights = dict(image=np.array([3, 2]), weight=np.array([2, 1]), retrieved=np.array([True, False]))
    write_table(tmp_path / 'weights.parquet', weights)
    assert write_chosen(tmp_path / 'images.parquet', tmp_path / 'weights.parquet', tmp_path) == 3
    assert (tmp_path / 'chosen.txt').read_text() == 'c\nd\nd\n'
    assert column(read_table(tmp_path / 'chosen.parquet'), 'retrieved').tolist() == [False, True]


def test_the_nearest_of_seeds_and_images_of_their_clusters():
    rows = Rows(
        [
            np.eye(4)[[0, 0, 1, 1, 1, 2, 3]]
            + np.diag([0.3, 0.3, 0.1, 0.3]).repeat(1, 0)[[0, 1, 2, 3, 0, 0, 0]]
            * np.array([1, 1, 1, 1, 0, 0, 0])[:, None]
        ],
        unit=True,
    )
    seeds = Rows([np.eye(4)[[1, 1, 2]]], unit=True)
    assert nearest_of_seeds(rows, seeds, 1).tolist() == [4, 5]
    assert nearest_of_seeds(rows, seeds, 2).tolist() == [2, 4, 5]  # the second of both is 2
    level = Level(torch.eye(4), torch.tensor([0, 0, 1, 1, 1, 2, 3]), torch.zeros(7))
    assert clusters_of_seeds(level, seeds, 9).tolist() == [2, 3, 4, 5]
    assert clusters_of_seeds(level, seeds, 9, least=2).tolist() == [2, 3, 4]
    two = [clusters_of_seeds(level, seeds, 2, seed=seed).tolist() for seed in range(9)]
    assert all(len(chosen) == 3 and chosen[-1] == 5 for chosen in two) and len({tuple(chosen) for chosen in two}) > 1


def test_evenness_is_1_for_equal_groups_0_for_a_single_one_and_that_of_two_of_four_is_a_half():
    found = [evenness(np.array(sizes)) for sizes in ([7, 7, 7], [5, 0, 0], [3, 3, 0, 0])]
    assert found == pytest.approx([1, 0, 0.5])
