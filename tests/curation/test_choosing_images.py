"""Hierarchical k-means and balanced sampling, against slow versions and against cases computed by hand."""

import numpy as np
import pytest
import torch
from processes import run_in_processes

from dino_plugin.curation.hierarchy import (
    Level,
    empty_clusters,
    hierarchical_kmeans,
    nearest_members,
    sizes_of_levels,
)
from dino_plugin.curation.kmeans import Assignment, assign, kmeans, spread_centres
from dino_plugin.curation.plan import Plan
from dino_plugin.curation.rows import Rows, open_rows
from dino_plugin.curation.run import curate
from dino_plugin.curation.sampling import balanced_sample, balanced_shares
from dino_plugin.curation.stages import Stages


def blobs(per_blob=20, blobs=5, dim=8):
    """Groups of points, far from each other."""
    random = np.random.default_rng(0)
    centres = 20 * np.eye(dim)[:blobs]
    return (np.repeat(centres, per_blob, 0) + 0.3 * random.standard_normal((blobs * per_blob, dim))).astype(np.float32)


def slow_lloyd(points, centres, iterations):
    """The definition, one point at a time, in double precision."""
    for _ in range(iterations):
        members = [[] for _ in centres]
        for point in points:
            members[min(range(len(centres)), key=lambda c: ((point - centres[c]) ** 2).sum())].append(point)
        centres = [sum(m) / len(m) if m else centre for m, centre in zip(members, centres)]
    return np.stack(centres)


@pytest.mark.parametrize('iterations', [1, 3])
def test_kmeans_is_lloyds_from_the_spread_centres(iterations):
    points = np.random.default_rng(1).standard_normal((60, 4)).astype(np.float32)
    rows = Rows([points[:7], points[7:]], chunk=11)
    start = spread_centres(torch.from_numpy(points), 5, seed=3).double().numpy()
    found = kmeans(rows, 5, iterations, seed=3)
    np.testing.assert_allclose(found, slow_lloyd(points.astype(float), start, iterations), atol=1e-5)


def test_centres_are_spread_over_groups_and_equal_rows_are_no_two_centres():
    points = torch.from_numpy(blobs())
    for seed in range(20):
        distances = torch.cdist(spread_centres(points, 5, seed), points).view(5, 5, 20).amin(2)
        assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match='3 clusters, but only 2 of 6 rows differ'):
        spread_centres(torch.eye(2)[[0, 1, 0, 1, 0, 1]] + 0.3, 3, 0)


def test_an_interrupted_kmeans_goes_on_where_it_was(tmp_path):
    rows = Rows([np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32)])
    kmeans(rows, 20, 2, state=tmp_path / 'state')
    whole = kmeans(rows, 20, 5)
    assert torch.equal(kmeans(rows, 20, 5, state=tmp_path / 'state'), whole)
    rows.take = None  # nothing is left to read
    assert torch.equal(kmeans(rows, 20, 5, state=tmp_path / 'state'), whole)


def test_a_centre_without_points_stays_and_counts_as_a_cluster_of_size_0():
    found = assign(Rows([np.array([[0.0], [1.0], [9.0]])]), torch.tensor([[0.4], [50.0], [9.5]]))
    assert found.cluster.tolist() == [0, 0, 2]
    assert found.distance.tolist() == pytest.approx([0.16, 0.36, 0.25], abs=1e-5)
    level = Level(torch.zeros(3, 1), *found)
    assert empty_clusters([level]) == 1 and sizes_of_levels([level])[0].tolist() == [2, 0, 1]
    assert balanced_sample([level], 2).tolist().count(1) == 2


def test_levels_are_clusters_of_clusters_and_resampling_flattens_them():
    """One direction has 20 times the images: without resampling it takes more of the second level's clusters."""
    random = np.random.default_rng(0)
    angles = np.concatenate([random.uniform(0, 1, 2000), random.uniform(1, 2, 100)])
    rows = Rows([np.stack([np.cos(angles), np.sin(angles)], 1)])
    shares = []
    for resamples in (0, 10):
        levels = hierarchical_kmeans(rows, [200, 10], resamples=resamples)
        assert [len(level.centres) for level in levels] == [200, 10]
        assert [sizes.sum() for sizes in sizes_of_levels(levels)] == [2100, 2100]
        of_images = levels[1].cluster[levels[0].cluster].numpy()
        assert sizes_of_levels(levels)[1].tolist() == np.bincount(of_images, minlength=10).tolist()
        centres = torch.atan2(*levels[1].centres.T.flip(0))
        shares.append(int((centres > 1).sum()))
    assert shares[0] < shares[1] <= 5, shares


def test_the_nearest_members_of_each_cluster():
    found = Assignment(torch.tensor([1, 0, 1, 1, 0]), torch.tensor([3.0, 1.0, 2.0, 1.0, 0.5]))
    assert nearest_members(found, 1).tolist() == [3, 4]
    assert nearest_members(found, 2).tolist() == [1, 2, 3, 4]
    assert nearest_members(found, 0).tolist() == [3, 4]  # at least one


def test_shares_are_equal_as_far_as_groups_have_so_many():
    random = np.random.default_rng(0)
    assert balanced_shares(np.array([1, 2, 10]), 7, random).tolist() == [1, 2, 4]
    assert sorted(balanced_shares(np.array([5, 0, 5]), 7, random).tolist()) == [0, 3, 4]
    assert balanced_shares(np.array([3, 4]), 7, random).tolist() == [3, 4]
    assert balanced_shares(np.array([3, 4]), 0, random).tolist() == [0, 0]
    for _ in range(50):
        sizes = random.integers(0, 30, 8)
        target = int(random.integers(0, sizes.sum() + 1))
        shares = balanced_shares(sizes, target, random)
        assert shares.sum() == target and (shares <= sizes).all()
        assert (shares >= np.minimum(sizes, shares.max() - 1)).all()  # who gives less has no more
    with pytest.raises(ValueError, match='8 images are asked for, but there are 7'):
        balanced_shares(np.array([3, 4]), 8, random)


def two_levels():
    """Ten images in clusters 0 0 0 0 0 0 | 1 | 2 2 | 3; the upper level joins 0 with 1, and 2 with 3."""
    cluster = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 2, 3])
    lower = Level(torch.zeros(4, 1), cluster, torch.arange(10.0).flip(0))
    return [lower, Level(torch.zeros(2, 1), torch.tensor([0, 0, 1, 1]), torch.zeros(4))]


def test_a_balanced_sample_shares_from_the_top():
    """Six images: three from each half, of which the small clusters give all they have."""
    for seed in range(5):
        taken = balanced_sample(two_levels(), 6, seed)
        assert (taken[:6].sum(), taken[6], taken[7:].tolist()) == (2, 1, [1, 1, 1])
    assert balanced_sample(two_levels(), 6, nearest_first=True).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert len({tuple(balanced_sample(two_levels(), 6, seed)) for seed in range(5)}) > 1
    assert np.array_equal(balanced_sample(two_levels(), 6, 1), balanced_sample(two_levels(), 6, 1))


def test_an_image_of_a_small_cluster_may_be_taken_several_times():
    """Twelve images: six from each half; the second one has three, each is taken twice."""
    taken = balanced_sample(two_levels(), 12, repeats=3)
    assert taken[:7].sum() == 6 and taken[7:].sum() == 6
    assert (taken[6], taken[9]) == (3, 3) and sorted(taken[7:9]) == [1, 2]


@pytest.mark.parametrize('clusters', [[], [10], [5, 5], [4, 0], [12, 3]])
def test_levels_that_do_not_fall_are_refused(clusters):
    with pytest.raises(ValueError, match='each level needs fewer clusters'):
        hierarchical_kmeans(Rows([np.eye(10)]), clusters)


def test_rows_of_files_have_length_one_and_nan_is_refused_with_its_place(tmp_path):
    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float16)
    np.save(tmp_path / '0.npy', rows[:4])
    np.save(tmp_path / '1.npy', rows[4:])
    found = open_rows(tmp_path).take(np.array([8, 0, 5]))
    torch.testing.assert_close(found, torch.nn.functional.normalize(torch.from_numpy(rows[[8, 0, 5]]).float()))
    rows[5] = np.nan
    np.save(tmp_path / '1.npy', rows[4:])
    with pytest.raises(ValueError, match='images 0 to 8 hold NaN'):
        list(open_rows(tmp_path).own())
    with pytest.raises(ValueError, match='expected embeddings as dino-plugin features writes them'):
        open_rows(tmp_path / 'none')
    with pytest.raises(ValueError, match='arrays "rows dim" of one width'):
        Rows([np.zeros((2, 3)), np.zeros((2, 4))])


def written(rows, folder):
    """A source of embeddings, as `curate` takes it: a file for each of two shards."""

    def embed(out):
        for number, part in enumerate(np.array_split(rows, 2)):
            np.save(out / f'{number}.npy', part)
            (out / f'{number}.txt').write_text(''.join(f'{folder}_{number}_{row}.jpg\n' for row in range(len(part))))
        return dict(images=len(rows))

    return dict(rows=folder), embed


def whole_curation(out):
    """Levels, then all stages: 31 images of each of five kinds, 20 of them twice; some are held out, some are seeds."""
    images = blobs(per_blob=31)
    levels = hierarchical_kmeans(Rows([images], chunk=13), [20, 5], iterations=10)
    copies = 1.5 * images[:20]
    sources = dict(images=written(np.concatenate([images, copies]), 'image'))
    sources |= dict(held_out=written(images[90:95], 'held_out'), seeds=written(images[[31, 32]], 'seed'))
    plan = Plan(40, [20, 5], duplicates=1, held_out=1, per_seed=3, per_cluster=2)
    return [tuple(level) for level in levels], curate(plan, out, sources).results


def curation_in_a_process(rank, folder, expected):
    for level, others in zip(whole_curation(folder / 'two')[0], expected):
        for found, other in zip(level, others):
            torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-4)


def test_two_processes_choose_what_one_chooses(tmp_path):
    levels, results = whole_curation(tmp_path / 'one')
    assert results['duplicates']['pairs'] == 20 and results['duplicates']['near_held_out'] == 5
    assert results['duplicates']['left'] == 150
    run_in_processes(curation_in_a_process, tmp_path, levels)
    lists = [(tmp_path / name / 'chosen/chosen.txt').read_text().splitlines() for name in ('one', 'two')]
    assert lists[0] == lists[1] and 40 < len(lists[0]) == len(set(lists[0])) < 50
    again = whole_curation(tmp_path / 'one')[1]
    assert again == results  # with the seconds of the first run


def test_images_are_added_by_the_clusters_of_seeds_alone(tmp_path):
    pytest.importorskip('faiss', reason="faiss is not installed: pip install 'dino_plugin[curation]'")
    sources = dict(images=written(blobs(), 'image'), seeds=written(blobs()[[3, 4]], 'seed'))
    plan = Plan(10, [10], duplicates=2, index='IVF2,Flat', per_seed=0, per_cluster=3)
    found = curate(plan, tmp_path, sources).results['chosen']
    assert found['retrieved'] >= 3 and found['images'] >= 10


def test_more_than_there_are_and_other_settings_in_one_folder_are_refused(tmp_path):
    images = written(blobs(), 'image')
    with pytest.raises(ValueError, match='keep=101 images are asked for, but there are 100'):
        curate(Plan(101, duplicates=2), tmp_path, dict(images=images))
    with pytest.raises(ValueError, match=r'100 images in \[100\] clusters: each level needs fewer'):
        curate(Plan(10, [100], duplicates=2), tmp_path, dict(images=images))
    with pytest.raises(ValueError, match='held_out=2 is a cosine'):
        Plan(10, held_out=2).refuse_impossible(100)
    with pytest.raises(ValueError, match=r"\{'iterations': 0\}: give 1 or more"):
        Plan(10, iterations=0).refuse_impossible(100)
    with pytest.raises(ValueError, match=r"\{'per_seed': -1\}: give 0 or more"):
        Plan(10, per_seed=-1).refuse_impossible(100)
    first = curate(Plan(10, [10], duplicates=2), tmp_path, dict(images=images)).results
    other = curate(Plan(20, [10], duplicates=2), tmp_path, dict(images=images)).results
    assert (first['clusters'], first['chosen']['lines'], other['chosen']['lines']) == (other['clusters'], 10, 20)
    with pytest.raises(ValueError, match='embeddings_images holds the work of other settings'):
        curate(Plan(10), tmp_path, dict(images=written(blobs(), 'other')))


def test_a_folder_of_somebody_s_own_files_is_refused_and_kept(tmp_path):
    (tmp_path / 'chosen').mkdir()
    (tmp_path / 'chosen/holiday.jpg').write_bytes(b'precious')
    with pytest.raises(ValueError, match='chosen is no stage of an earlier run'):
        Stages(tmp_path).run('chosen', {}, lambda folder: {})
    assert (tmp_path / 'chosen/holiday.jpg').read_bytes() == b'precious'
    (tmp_path / 'empty').mkdir()
    assert Stages(tmp_path).run('empty', {}, lambda folder: dict(number=3))['number'] == 3
