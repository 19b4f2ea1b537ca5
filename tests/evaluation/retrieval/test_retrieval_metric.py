"""Retrieval as an mmengine metric, and the model and loop below it."""

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner import Runner
from processes import run_in_processes
from torch.nn.functional import interpolate

from dino_plugin.engine.evaluating.descriptor_extractor import DescriptorExtractor
from dino_plugin.evaluation.retrieval.by_class import class_retrieval, retrieval_among
from dino_plugin.evaluation.retrieval.descriptors import describe
from dino_plugin.evaluation.retrieval.metric import ClassRetrievalMetric
from dino_plugin.evaluation.retrieval.whitening import fit_whitening
from dino_plugin.openmmlab.config_files import config_path

NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=1, num_heads=2,
)  # fmt: skip


def predictions(count, seed, **marks):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = torch.eye(8)[labels] + torch.randn(count, 8, generator=generator) * torch.arange(1, 9) + 5
    return [dict(features=part, labels=of, **marks) for part, of in zip(features.split(7), labels.split(7))]


def joined(batches):
    return [torch.cat([batch[key] for batch in batches]) for key in ('features', 'labels')]


def evaluated(metric, *parts):
    for part in parts:
        for batch in part:
            metric.process(None, [batch])
    return metric.evaluate(size=0)


def named(scores):
    return {f'retrieval/{name}': pytest.approx(score) for name, score in scores.items()}


def test_the_metric_is_the_function_on_all_batches_together():
    bank, queries = predictions(40, 0, in_bank=True), predictions(25, 1)
    expected = class_retrieval(*joined(bank), *joined(queries), at=(1, 3))
    assert evaluated(ClassRetrievalMetric(at=(1, 3)), bank, queries) == named(expected)


def test_without_a_bank_images_are_compared_with_each_other():
    images = predictions(25, 1)
    assert evaluated(ClassRetrievalMetric(), images) == named(retrieval_among(*joined(images)))


@pytest.mark.parametrize('whitening', ['centred', 'about_zero'])
def test_features_are_whitened_by_the_images_for_it_else_by_the_bank_else_by_all(whitening):
    bank, queries = predictions(40, 0, in_bank=True), predictions(25, 1)
    extra = predictions(60, 2, for_whitening=True)
    for parts, to_fit in (((bank, queries, extra), extra), ((bank, queries), bank), ((queries,), queries)):
        whiten = fit_whitening(joined(to_fit)[0], whitening == 'centred')
        (features, labels) = joined(queries)
        if bank in parts:
            bank_features, bank_labels = joined(bank)
            expected = class_retrieval(whiten(bank_features), bank_labels, whiten(features), labels)
        else:
            expected = retrieval_among(whiten(features), labels)
        assert evaluated(ClassRetrievalMetric(whitening=whitening), *parts) == named(expected)


def check_processes(rank, bank, queries, extra, expected):
    """The second process has no images for whitening, and the first one no bank."""
    parts = [bank[:0], queries[:1], extra] if rank == 0 else [bank, queries[1:], []]
    assert evaluated(ClassRetrievalMetric(whitening='centred'), *parts) == pytest.approx(expected, rel=1e-4)


def test_two_processes_whiten_as_one():
    bank, queries = predictions(40, 0, in_bank=True), predictions(25, 1)
    extra = predictions(60, 2, for_whitening=True)
    expected = evaluated(ClassRetrievalMetric(whitening='centred'), bank, queries, extra)
    run_in_processes(check_processes, bank, queries, extra, expected)


def test_images_for_whitening_are_not_searched_where_nothing_is_whitened():
    images, extra = predictions(25, 1), predictions(60, 2, for_whitening=True)
    assert evaluated(ClassRetrievalMetric(), images, extra) == evaluated(ClassRetrievalMetric(), images)


def test_a_ranking_can_be_cut_off():
    images, bank = predictions(25, 1), predictions(40, 0, in_bank=True)
    expected = retrieval_among(*joined(images), at=(1, 3), depth=4)
    assert evaluated(ClassRetrievalMetric(at=(1, 3), depth=4), images) == named(expected)
    expected = class_retrieval(*joined(bank), *joined(images), at=(1, 3), depth=4)
    assert evaluated(ClassRetrievalMetric(at=(1, 3), depth=4), bank, images) == named(expected)
    with pytest.raises(ValueError, match='index must be one of'):
        evaluated(ClassRetrievalMetric(depth=10, index='tree'), images)


def test_another_word_for_whitening_is_refused():
    with pytest.raises(ValueError, match=r"one of .*got 'pca'"):
        ClassRetrievalMetric(whitening='pca')


def test_descriptors_are_the_means_over_scales():
    model = DescriptorExtractor(NETWORK, 'class+gem', power=3.0, scales=(1, 0.5)).eval()
    images = torch.randn(2, 3, 48, 32)
    half = interpolate(images, size=(24, 16), mode='bilinear', align_corners=False)
    with torch.no_grad():
        expected = [describe(model.backbone(part), 'class+gem', 3.0) for part in (images, half)]
        torch.testing.assert_close(model(images), (expected[0] + expected[1]) / 2)
        (prediction,) = model(images, torch.tensor([4, 5]), mode='predict')
    assert prediction['labels'].tolist() == [4, 5]


def test_precision_of_the_network_is_rounding_of_its_features():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    exact = DescriptorExtractor(NETWORK).eval()
    rounded = DescriptorExtractor(NETWORK, precision='bf16').eval()
    rounded.load_state_dict(exact.state_dict())
    with torch.no_grad():
        difference = (exact(images) - rounded(images)).abs().max()
    assert 0 < difference < 0.1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(precision='int8'), 'precision must be one of'),
        (dict(scales=()), 'factors above 0'),
        (dict(scales=(1, 0)), 'factors above 0'),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DescriptorExtractor(NETWORK, **options)


def test_descriptors_are_not_trained():
    with pytest.raises(ValueError, match='has no loss'):
        DescriptorExtractor(NETWORK)(torch.zeros(1, 3, 32, 32), mode='loss')


def load(name, tmp_path):
    cfg = Config.fromfile(config_path(f'retrieval/{name}.py'))
    cfg.model.backbone = NETWORK
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    cfg.test_cfg.cache_gigabytes = 0
    return cfg


def small_loader(loader, **dataset):
    loader.update(num_workers=0, batch_size=16)
    loader.dataset.update(**dataset)
    for step in loader.dataset.pipeline:
        if 'resize' in step:
            step.update(resize=36, crop=32)


def test_the_config_for_a_folder_runs_and_beats_chance(tmp_path):
    cfg = load('retrieval_folder', tmp_path)
    small_loader(cfg.test_dataloader, data_root=str(CIFAR), indices=list(range(0, 1000, 5)))
    torch.manual_seed(0)
    scores = Runner.from_cfg(cfg).test()
    assert scores['retrieval/queries'] == 200
    assert 12 < scores['retrieval/mAP'] < 30  # ten classes


def test_a_bank_of_the_queries_themselves_gives_each_image_back_first(tmp_path):
    cfg = load('retrieval_folder', tmp_path)
    small_loader(cfg.test_dataloader, data_root=str(CIFAR), indices=list(range(0, 1000, 20)))
    cfg.test_cfg.bank_dataloader = cfg.test_dataloader
    assert Runner.from_cfg(cfg).test()['retrieval/mP@1'] == 100
