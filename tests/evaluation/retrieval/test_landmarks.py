"""The revisited Oxford and Paris: ground truth, data, and the scores of Easy, Medium and Hard."""

import json
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner import Runner
from processes import run_in_processes

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.data.images.decoding import read_image
from dino_plugin.evaluation.retrieval.landmark_dataset import LandmarkBank, LandmarkQueries
from dino_plugin.evaluation.retrieval.landmarks import Query, landmark_retrieval, read_ground_truth
from dino_plugin.evaluation.retrieval.metric import LandmarkMetric
from dino_plugin.openmmlab.config_files import config_path

BOX = (4.0, 2.0, 20.5, 30.0)
NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=1, num_heads=2,
)  # fmt: skip


def content(array=list):
    """Six images and two queries, as the file of the revisited sets is laid out."""
    entries = [dict(easy=[0, 1], hard=[2], junk=[3]), dict(easy=[4], hard=[], junk=[])]
    return {
        'imlist': [f'place_{number:06}' for number in range(6)],
        'qimlist': ['query_000001', 'query_000002'],
        'gnd': [{name: array(values) for name, values in entry.items()} | {'bbx': list(BOX)} for entry in entries],
    }


@pytest.fixture
def folder(tmp_path):
    """Like `roxford5k`: the first query is cut out of image 0."""
    root = tmp_path / 'roxford5k'
    (root / 'jpg').mkdir(parents=True)
    photographs = sorted(CIFAR.glob('*/*.jpg'))[::150]
    for name, path in zip(content()['imlist'], photographs):
        shutil.copy(path, root / f'jpg/{name}.jpg')
    shutil.copy(photographs[0], root / 'jpg/query_000001.jpg')
    shutil.copy(photographs[4], root / 'jpg/query_000002.jpg')
    (root / 'gnd_roxford5k.pkl').write_bytes(pickle.dumps(content(np.array), 2))
    return root


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_three_set_ups_by_hand():
    """One query; the bank in order of similarity: junk, hard, easy, wrong, hard."""
    angles = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    bank = torch.stack([angles.cos(), angles.sin()], dim=1)
    truth = [Query('q', BOX, easy=(2,), hard=(1, 4), junk=(0,))]
    found = landmark_retrieval(bank, torch.arange(5), torch.tensor([[1.0, 0.0]]), torch.tensor([0]), truth, at=(1, 3))
    # Medium: hard, easy, wrong, hard. Precisions before and after: 1 1, 1 1, 2/3 3/4.
    assert found['mAP/Medium'] == pytest.approx(100 * (1 + 1 + (2 / 3 + 3 / 4) / 2) / 3)
    assert (found['mP@1/Medium'], found['mP@3/Medium']) == (100, pytest.approx(200 / 3))
    # Easy: easy, wrong. Hard: hard, wrong, hard.
    assert (found['mAP/Easy'], found['mP@3/Easy']) == (100, 100)
    assert found['mAP/Hard'] == pytest.approx(100 * (1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert found['mP@3/Hard'] == pytest.approx(200 / 3)


def slow_scores(similarities, right, junk):
    """One query as the evaluation of the revisited sets does it: positions less the junk before them."""
    order = sorted(range(len(similarities)), key=lambda image: -similarities[image])
    places = [place for place, image in enumerate(order) if image in right]
    junk_places = [place for place, image in enumerate(order) if image in junk]
    places = [place - sum(other < place for other in junk_places) for place in places]
    if not places:
        return math.nan, math.nan
    precision = 0.0
    for number, place in enumerate(places):
        before = 1.0 if place == 0 else number / place
        precision += (before + (number + 1) / (place + 1)) / 2 / len(places)
    ten = min(max(places) + 1, 10)
    return precision, sum(place + 1 <= ten for place in places) / ten


def random_case(num_images=120, num_queries=15):
    """Queries with images of each kind, some kinds empty."""
    generator = torch.Generator().manual_seed(0)
    truth = []
    for number in range(num_queries):
        kinds = torch.randint(0, 12, (num_images,), generator=generator)
        sets = [tuple(torch.where(kinds == kind)[0].tolist()) for kind in range(3)]
        sets[1] = () if number % 5 == 0 else sets[1]
        truth.append(Query(f'q{number}', BOX, *sets))
    features = torch.randn(num_images + num_queries, 8, generator=generator)
    return features[:num_images], features[num_images:], truth


def test_random_cases_score_as_the_slow_form():
    bank, queries, truth = random_case()
    found = landmark_retrieval(bank, torch.arange(120), queries, torch.arange(15), truth)
    cosines = torch.cosine_similarity(queries[:, None].double(), bank[None].double(), dim=-1).tolist()
    sets = {
        'Easy': [(query.easy, query.hard + query.junk) for query in truth],
        'Medium': [(query.easy + query.hard, query.junk) for query in truth],
        'Hard': [(query.hard, query.easy + query.junk) for query in truth],
    }
    for setup, judged in sets.items():
        scores = np.array([slow_scores(row, *part) for row, part in zip(cosines, judged)])
        assert found[f'mAP/{setup}'] == pytest.approx(100 * np.nanmean(scores[:, 0]), abs=1e-3)
        assert found[f'mP@10/{setup}'] == pytest.approx(100 * np.nanmean(scores[:, 1]), abs=1e-3)


def test_the_order_of_bank_and_queries_means_nothing():
    bank, queries, truth = random_case()
    found = landmark_retrieval(bank, torch.arange(120), queries, torch.arange(15), truth)
    generator = torch.Generator().manual_seed(1)
    order, other = torch.randperm(120, generator=generator), torch.randperm(15, generator=generator)
    assert landmark_retrieval(bank[order], order, queries[other], other, truth) == pytest.approx(found)


def test_distractors_make_it_harder():
    bank, queries, truth = random_case()
    found = landmark_retrieval(bank, torch.arange(120), queries, torch.arange(15), truth)
    numbers = torch.cat([torch.arange(120), torch.full((15,), -1)])
    harder = landmark_retrieval(torch.cat([bank, queries]), numbers, queries, torch.arange(15), truth)
    assert harder['mP@1/Medium'] == 0 and harder['mAP/Hard'] < found['mAP/Hard']


def test_a_set_up_without_a_right_image_has_no_numbers():
    bank, queries, truth = random_case()
    easy = [query._replace(hard=()) for query in truth]
    found = landmark_retrieval(bank, torch.arange(120), queries, torch.arange(15), easy)
    assert 'mAP/Hard' not in found and found['mAP/Easy'] == found['mAP/Medium']


def check_processes(rank, bank, queries, truth, expected):
    mine = (slice(0, 50), slice(0, 15)) if rank == 0 else (slice(50, None), slice(15, None))  # one has no queries
    numbers = torch.arange(120)[mine[0]], torch.arange(15)[mine[1]]
    found = landmark_retrieval(bank[mine[0]], numbers[0], queries[mine[1]], numbers[1], truth, over_ranks=True)
    assert found == pytest.approx(expected)


def test_two_processes_find_what_one_finds():
    bank, queries, truth = random_case()
    expected = landmark_retrieval(bank, torch.arange(120), queries, torch.arange(15), truth)
    run_in_processes(check_processes, bank, queries, truth, expected)


def test_the_metric_needs_the_ground_truth():
    metric = LandmarkMetric()
    for marks in (dict(in_bank=True), {}):
        metric.process(None, [dict(features=torch.eye(3), labels=torch.arange(3), **marks)])
    with pytest.raises(ValueError, match='needs queries of'):
        metric.evaluate(3)


# --- ground truth -----------------------------------------------------------------------------------------------------


def test_pickles_with_arrays_and_json_say_the_same(folder, tmp_path):
    (tmp_path / 'gnd.json').write_text(json.dumps(content()))
    truth = read_ground_truth(folder / 'gnd_roxford5k.pkl')
    assert truth == read_ground_truth(tmp_path / 'gnd.json')
    assert truth.images[5] == 'place_000005'
    assert truth.queries[0] == Query('query_000001', BOX, (0, 1), (2,), (3,))


def changed(change):
    wrong = content()
    change(wrong)
    return wrong


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ([1, 2], 'is no ground truth'),
        ({'imlist': []}, "'qimlist' is missing"),
        (changed(lambda gnd: gnd['qimlist'].pop()), '1 names of queries and 2 entries'),
        (changed(lambda gnd: gnd['gnd'][0].pop('junk')), "'junk' is missing"),
        (changed(lambda gnd: gnd['gnd'][0].update(hard=[6])), 'query query_000001 names images 0 to 6 of 6'),
        (changed(lambda gnd: gnd['gnd'][0].update(hard=[-1])), 'images -1 to 3 of 6'),
        (changed(lambda gnd: gnd['gnd'][0].update(hard=[1])), 'names an image twice'),
        (changed(lambda gnd: gnd['gnd'][1].update(bbx=[5, 5, 5, 9])), 'query query_000002 has the box'),
        (changed(lambda gnd: gnd['gnd'][1].update(bbx=[5, 5, 6])), 'query query_000002 has the box'),
    ],
)
def test_a_file_that_is_no_ground_truth_is_refused_by_name(wrong, message, tmp_path):
    (tmp_path / 'gnd_x.json').write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match=message) as error:
        read_ground_truth(tmp_path / 'gnd_x.json')
    assert 'gnd_x.json' in str(error.value)


class Command:
    def __reduce__(self):
        return exec, ('raise SystemExit',)


def test_a_pickle_that_calls_something_is_refused(folder):
    (folder / 'gnd_roxford5k.pkl').write_bytes(pickle.dumps(Command()))
    with pytest.raises(ValueError, match=r'gnd_roxford5k.pkl is no ground truth .* wants to call builtins.exec'):
        LandmarkBank(folder)


# --- data -------------------------------------------------------------------------------------------------------------


def test_images_and_queries_have_their_numbers_and_boxes(folder):
    bank, queries, whole = LandmarkBank(folder), LandmarkQueries(folder), LandmarkQueries(folder, crop=False)
    assert [bank.get_data_info(number)['gt_label'] for number in range(6)] == list(range(6))
    assert bank.get_data_info(3)['img_path'] == str(folder / 'jpg/place_000003.jpg')
    assert queries.get_data_info(1)['img_path'] == str(folder / 'jpg/query_000002.jpg')
    assert [data.get_data_info(0)['box'] for data in (queries, whole)] == [BOX, None]
    assert queries.metainfo['truth'][1].easy == (4,)
    with_others = LandmarkBank(folder, distractors=CIFAR / 'dog')
    assert len(with_others) == 106 and with_others.get_data_info(6)['gt_label'] == -1


def test_a_query_is_cut_to_its_box(folder):
    pipeline = [
        dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.CutToBox'), dict(type='dino_plugin.PackImage')
    ]  # fmt: skip
    image = read_image(folder / 'jpg/query_000001.jpg')
    cut, label, _ = LandmarkQueries(folder, pipeline=pipeline)[0]
    assert label == 0 and np.array_equal(cut.numpy(), image[2:30, 4:20])
    assert np.array_equal(LandmarkQueries(folder, crop=False, pipeline=pipeline)[0][0].numpy(), image)


def test_files_that_are_missing_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='jpg is not a folder'):
        LandmarkBank(tmp_path)
    (folder / 'jpg/query_000002.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images .* missing, such as .*query_000002.jpg'):
        LandmarkQueries(folder)
    with pytest.raises(FileNotFoundError, match='has no gnd_other'):
        LandmarkBank(folder, ground_truth='gnd_other.pkl')
    (folder / 'gnd_b.json').write_text(json.dumps(content()))
    with pytest.raises(ValueError, match='2 ground truths: name one of gnd_b'):
        LandmarkBank(folder)
    assert len(LandmarkBank(folder, ground_truth='gnd_b.json')) == 6
    (folder / 'gnd_b.json').unlink()
    (folder / 'gnd_roxford5k.pkl').unlink()
    with pytest.raises(FileNotFoundError, match=r'has no gnd_\*.pkl or gnd_\*.json'):
        LandmarkBank(folder)


@pytest.mark.parametrize('name', ['landmarks_roxford5k', 'landmarks_rparis6k'])
def test_the_configs_find_a_query_that_is_an_image_of_the_bank(name, folder, tmp_path):
    cfg = Config.fromfile(config_path(f'retrieval/{name}.py'))
    cfg.model.backbone = NETWORK
    for loader in (cfg.test_dataloader, cfg.test_cfg.bank_dataloader):
        loader.num_workers = 0
        loader.dataset.data_root = str(folder)
    cfg.test_dataloader.dataset.crop = False
    cfg.test_cfg.cache_gigabytes = 0
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    torch.manual_seed(0)
    scores = Runner.from_cfg(cfg).test()
    assert (scores['landmarks/mAP/Easy'] > 60, scores['landmarks/mP@1/Easy']) == (True, 100)
    assert scores['landmarks/mAP/Hard'] < scores['landmarks/mAP/Easy']
