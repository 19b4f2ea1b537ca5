"""`tools/test.py` with a k-NN config: the numbers of the plain functions, for every kind of checkpoint."""

import json
import runpy
import sys

import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.engine.evaluating.bank_loop import prepare_bank_and_queries, refuse_repeated_samples
from dino_plugin.engine.evaluating.feature_extractor import FeatureExtractor
from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.features.extraction import extract_features
from dino_plugin.export.backbone import export_backbone

ARGUMENTS = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
PIPELINE = [dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')]


@pytest.fixture(scope='module')
def folders(repository, tmp_path_factory):
    """Ten classes with 6 labelled images and 3 queries each."""
    root = tmp_path_factory.mktemp('folders')
    for split, name, count in (('train', 'train', 6), ('test', 'val', 3)):
        for source in (repository / 'tests/data/cifar10_mini' / split).iterdir():
            (root / name / source.name).mkdir(parents=True)
            for path in sorted(source.glob('*.jpg'))[:count]:
                (root / name / source.name / path.name).symlink_to(path)
    return root


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(1)
    return TimmBackbone('vit_tiny_patch16_224', **ARGUMENTS)


@pytest.fixture(scope='module')
def training_checkpoint(backbone, tmp_path_factory):
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    path = tmp_path_factory.mktemp('training') / 'epoch_1.pth'
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, path)
    return path


@pytest.fixture
def run_test_tool(repository, folders, tmp_path, monkeypatch):
    def run(checkpoint, *options, config='configs/knn/knn_folder.py', metric=('test_evaluator.ks=[5,20]',)):
        out = tmp_path / 'results.json'
        tool = str(repository / 'tools/test.py')
        loaders = ('test_dataloader', 'test_cfg.bank_dataloader')
        roots = (folders / 'val', folders / 'train')
        command = [tool, str(repository / config), str(checkpoint), '--work-dir', str(tmp_path), '--out', str(out)]
        command += [
            '--cfg-options',
            'log_level=WARNING',
            *metric,
            f'experiment_name={tmp_path.name}',
        ]
        for loader, root in zip(loaders, roots):
            command += [f'{loader}.num_workers=0', f'{loader}.batch_size=8', f'{loader}.dataset.data_root={root}']
            command += [f'{loader}.dataset.pipeline.1.{key}=32' for key in ('resize', 'crop')]
        monkeypatch.setattr(sys, 'argv', [*command, *options])
        runpy.run_path(tool, run_name='__main__')
        return json.loads(out.read_text())

    return run


def expected_scores(network, folders, features='class'):
    parts = []
    for split in ('train', 'val'):
        dataset = ImageDataset(data_root=folders / split, with_labels=True, pipeline=PIPELINE)
        parts += extract_features(network, DataLoader(dataset, batch_size=60, collate_fn=image_collate), features)
    return {f'knn/{name}': pytest.approx(score) for name, score in knn_accuracy(*parts, ks=(5, 20)).items()}


def test_a_training_checkpoint_needs_no_name_of_its_network(
    run_test_tool, training_checkpoint, backbone, folders, capsys
):
    expected = expected_scores(backbone, folders)
    assert run_test_tool(training_checkpoint) == expected
    assert 'knn/top1_k20' in capsys.readouterr().out


def test_an_exported_backbone_gives_the_same_numbers(run_test_tool, training_checkpoint, backbone, folders, tmp_path):
    path = export_backbone(training_checkpoint, tmp_path / 'exported')
    assert run_test_tool(path) == expected_scores(backbone, folders)


def test_a_file_that_does_not_name_its_network_needs_the_name(run_test_tool, backbone, folders, tmp_path, capsys):
    torch.save(backbone.model.state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(SystemExit):
        run_test_tool(tmp_path / 'plain.pth')
    assert '--cfg-options model.backbone.model_name=' in capsys.readouterr().err
    named = [f'model.backbone.{key}={value}' for key, value in ARGUMENTS.items()]
    named += ['model.backbone.model_name=vit_tiny_patch16_224', 'model.features=class+mean']
    scores = run_test_tool(tmp_path / 'plain.pth', *named)
    assert scores == expected_scores(backbone, folders, 'class+mean')


def test_none_takes_the_network_as_the_config_builds_it(run_test_tool):
    named = [f'model.backbone.{key}={value}' for key, value in ARGUMENTS.items()]
    scores = run_test_tool('none', 'model.backbone.model_name=vit_tiny_patch16_224', *named)
    assert set(scores) == {'knn/top1_k5', 'knn/top5_k5', 'knn/top1_k20', 'knn/top5_k20'}


def test_precision_changes_the_network_and_the_loss_is_refused(backbone, training_checkpoint):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = dict(type='dino_plugin.TimmBackbone')
    found = {}
    for precision in ('fp32', 'bf16'):
        model = FeatureExtractor(dict(network, checkpoint=str(training_checkpoint)), precision=precision).eval()
        found[precision] = model(images)
    with torch.no_grad():
        assert torch.equal(found['fp32'], backbone.eval()(images).class_token)
    assert found['bf16'].dtype == torch.float32
    assert not torch.equal(found['bf16'], found['fp32'])
    with pytest.raises(ValueError, match='has no loss'):
        model(images, mode='loss')
    with pytest.raises(ValueError, match="got 'int8'"):
        FeatureExtractor(dict(network, checkpoint=str(training_checkpoint)), precision='int8')


def test_a_sampler_that_repeats_samples_is_refused(folders, monkeypatch):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 4))
    images = list(range(10))
    for round_up in (False, True):
        loader = DataLoader(images, sampler=DefaultSampler(images, shuffle=False, seed=0, round_up=round_up))
        if not round_up:
            refuse_repeated_samples(loader, 'bank')
            continue
        with pytest.raises(ValueError, match=r'sampler of the bank gives out 12 samples of 10.*round_up=False'):
            refuse_repeated_samples(loader, 'bank')


def test_classes_that_do_not_match_are_refused_by_name(folders, tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path / name).symlink_to(folders / 'val' / name)
    bank = DataLoader(ImageDataset(data_root=folders / 'train', with_labels=True, pipeline=PIPELINE))
    queries = DataLoader(ImageDataset(data_root=tmp_path, with_labels=True, pipeline=PIPELINE))
    with pytest.raises(ValueError, match=r'10 and 2; differing: .*airplane.*metainfo'):
        prepare_bank_and_queries(bank, queries)
    same = dict(classes=bank.dataset.metainfo['classes'])
    dataset = ImageDataset(data_root=tmp_path, with_labels=True, pipeline=PIPELINE, metainfo=same)
    prepare_bank_and_queries(bank, DataLoader(dataset))
    assert [dataset.get_data_info(0)['gt_label'], dataset.get_data_info(-1)['gt_label']] == [3, 5]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An empty cache, and a count of the images that went through the network."""
    monkeypatch.setenv('DINO_PLUGIN_CACHE', str(tmp_path / 'cache'))
    seen = []
    forward = FeatureExtractor.forward

    def counted(self, images, *arguments, **options):
        seen.append(len(images))
        return forward(self, images, *arguments, **options)

    monkeypatch.setattr(FeatureExtractor, 'forward', counted)

    def images_seen() -> int:
        number = sum(seen)
        seen.clear()
        return number

    return images_seen


def test_a_second_evaluation_of_the_same_network_and_images_does_not_run_the_network(
    kept, training_checkpoint, run_test_tool, folders
):
    first = run_test_tool(training_checkpoint)
    assert kept() == 90
    assert run_test_tool(training_checkpoint) == first and kept() == 0
    other = run_test_tool(training_checkpoint, 'test_evaluator.temperature=1.0', 'test_evaluator.ks=[3]')
    assert kept() == 0 and [*other] == ['knn/top1_k3', 'knn/top5_k3']
    assert run_test_tool(training_checkpoint, 'test_cfg.cache_gigabytes=0') == first and kept() == 90
    run_test_tool(training_checkpoint, 'model.features=mean')
    assert kept() == 90
    run_test_tool(training_checkpoint, 'test_dataloader.dataset.indices=20')
    assert kept() == 20


def test_other_weights_are_other_features(kept, training_checkpoint, run_test_tool, tmp_path):
    run_test_tool(training_checkpoint)
    assert kept() == 90
    content = torch.load(training_checkpoint, weights_only=True)
    content['state_dict']['distillation.teacher.backbone.model.norm.bias'] += 0.1
    torch.save(content, tmp_path / 'other.pth')
    run_test_tool(tmp_path / 'other.pth')
    assert kept() == 90


def test_class_tokens_of_the_last_blocks_are_concatenated(run_test_tool, folders, tmp_path):
    torch.manual_seed(2)
    network = TimmBackbone('vit_tiny_patch16_224', **ARGUMENTS | dict(depth=3))
    state = {'state_dict': network.model.state_dict(), 'meta': {'backbone': network.description}}
    torch.save(state, tmp_path / 'deep.pth')
    images = torch.randn(2, 3, 32, 32)
    model = FeatureExtractor(
        dict(type='dino_plugin.TimmBackbone', checkpoint=str(tmp_path / 'deep.pth')), last_blocks=2
    )
    model.eval()
    blocks = network.eval().intermediates(images, [1, 2])
    expected = torch.cat([block.class_token for block in blocks], dim=1)
    with torch.no_grad():
        assert torch.equal(model(images), expected)
    assert run_test_tool(tmp_path / 'deep.pth', 'model.last_blocks=2').keys() >= {'knn/top1_k20'}
    with pytest.raises(ValueError, match=r'last_blocks=4 must be 1 to 3 with vit_tiny_patch16_224'):
        FeatureExtractor(dict(type='dino_plugin.TimmBackbone', checkpoint=str(tmp_path / 'deep.pth')), last_blocks=4)


def test_a_share_cuts_off_each_token_before_pooling(backbone, training_checkpoint):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = dict(type='dino_plugin.TimmBackbone', checkpoint=str(training_checkpoint))
    with torch.no_grad():
        tokens = backbone.eval()(images)
        dim = tokens.class_token.shape[-1] // 4
        parts = tokens.class_token[:, :dim], tokens.patches.mean(dim=(1, 2))[:, :dim]
        expected = torch.cat([torch.nn.functional.normalize(part, dim=-1) for part in parts], dim=-1)
        found = FeatureExtractor(network, 'class+mean', share=0.25).eval()(images)
    torch.testing.assert_close(found, expected)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=f'FeatureExtractor: share must be above 0 and at most 1, got {share}'):
            FeatureExtractor(network, share=share)


FEW_SHOT = [f'few_shot/{kind}_{end}' for kind in ('logistic', 'mean') for end in ('1', '1_error', '3', '3_error')]


@pytest.mark.parametrize(
    ('config', 'names'),
    [
        ('linear', ['linear/top1', 'linear/top5', 'linear/setting']),
        ('logistic', ['logistic/top1', 'logistic/top5', 'logistic/setting']),
        ('few-shot', FEW_SHOT),
    ],
)  # fmt: skip
def test_classifiers_of_kept_features_by_their_configs(config, names, kept, training_checkpoint, run_test_tool):
    few = ['test_evaluator.shots=[1,3]', 'test_evaluator.classifiers=[logistic,mean]']
    strengths = ['test_evaluator.strengths=[0.1,10]']  # two of 45, each of which takes a second
    options = {'few-shot': few, 'logistic': strengths}.get(config, [])
    found = run_test_tool(training_checkpoint, *options, config=f'configs/probes/{config}_folder.py', metric=())
    assert [*found] == names and kept() == 90
    assert all(0 <= value <= 100 for name, value in found.items() if 'top' in name)
    again = run_test_tool(training_checkpoint, *options, config=f'configs/probes/{config}_folder.py', metric=())
    assert again == found and kept() == 0
