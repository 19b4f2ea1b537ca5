"""Copy detection: scores, datasets, and the configs."""

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
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.retrieval.attacks import ATTACKS, attack_image
from dino_plugin.evaluation.retrieval.copies import copy_retrieval
from dino_plugin.evaluation.retrieval.copies_dataset import AttackedImages, CopydaysCopies, OriginalImages
from dino_plugin.evaluation.retrieval.metric import CopyMetric
from dino_plugin.evaluation.retrieval.pipeline_steps import CutToBox, ResizeWhole
from dino_plugin.openmmlab.config_files import config_path

PHOTOGRAPHS = sorted(CIFAR.glob('*/*.jpg'))[::50]
NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=1, num_heads=2,
)  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twenty photographs."""
    folder = tmp_path_factory.mktemp('originals')
    for number, path in enumerate(PHOTOGRAPHS):
        shutil.copy(path, folder / f'{number:02}.jpg')
    return folder


@pytest.fixture
def copydays(tmp_path):
    """Four originals, two of which have strong copies; crops and compressed copies of all."""
    names = ['2000', '2001', '2002', '2003']
    for block in ('original', 'strong', 'jpegqual/3', 'crops/50'):
        (tmp_path / block).mkdir(parents=True)
    for name, path in zip(names, PHOTOGRAPHS):
        for block in ('original', 'jpegqual/3', 'crops/50'):
            shutil.copy(path, tmp_path / block / f'{name}00.jpg')
    for name, source in (('200101', 1), ('200102', 1), ('200301', 3)):
        shutil.copy(PHOTOGRAPHS[source], tmp_path / f'strong/{name}.jpg')
    return tmp_path


# --- scores -----------------------------------------------------------------------------------------------------------


def test_two_kinds_by_hand():
    """Trapezoids: at rank 1 a copy gets 1, at rank 2 (0 + 1/2) / 2 = 1/4, at rank 3 (0 + 1/3) / 2 = 1/6."""
    bank, bank_labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]), torch.tensor([0, 1, -1])
    queries = torch.tensor([[1.0, 0.1], [0.1, 1.0], [0.7, 0.7], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 2 + 0, 2 + 1])  # the first kind of both, then the second kind
    scores = copy_retrieval(bank, bank_labels, queries, labels, ('easy', 'crops/10'), 2, at=(1,))
    # (0.7, 0.7): its original comes third, after the distractor and, as near as the other one, last of the two.
    easy, hard = 100, 100 * (1 / 6 + 1 / 6) / 2
    assert scores == {
        'mAP': pytest.approx((easy + hard) / 2), 'mP@1': 50, 'mAP/easy': easy,
        'mAP/crops/10': pytest.approx(hard), 'queries': 4,
    }  # fmt: skip


def test_a_bank_of_one_image_is_refused():
    one = torch.ones(1, 3), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match='a single image'):
        copy_retrieval(*one, *one, ('blur',), 1)


def test_a_kind_whose_originals_are_not_in_the_bank_is_named():
    bank = torch.eye(3), torch.tensor([0, -1, -1])
    with pytest.raises(ValueError, match=r'No query has its original \(crop\) in the bank'):
        copy_retrieval(*bank, torch.eye(3)[:2], torch.tensor([0, 3]), ('blur', 'crop'), 2)


def scores_of_two(rank, bank, queries, expected):
    mine = slice(0, 3) if rank == 0 else slice(3, None)
    parts = [value[mine] for value in (*bank, *queries)]
    assert copy_retrieval(*parts, ('a', 'b'), 5, over_ranks=True) == pytest.approx(expected)


def test_two_processes_find_what_one_finds():
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(8, 4, generator=generator), torch.tensor([0, 1, 2, 3, 4, -1, -1, -1])
    queries = torch.randn(10, 4, generator=generator), torch.arange(10)
    expected = copy_retrieval(*bank, *queries, ('a', 'b'), 5)
    assert expected['queries'] == 10
    run_in_processes(scores_of_two, bank, queries, expected)


def test_the_metric_needs_to_know_the_kinds():
    metric = CopyMetric()
    metric.process(None, [dict(features=torch.eye(3), labels=torch.arange(3), in_bank=True)])
    metric.process(None, [dict(features=torch.eye(3), labels=torch.arange(3))])
    with pytest.raises(ValueError, match='needs queries of dino_plugin'):
        metric.evaluate(3)


# --- data -------------------------------------------------------------------------------------------------------------


def test_every_image_is_attacked_in_every_way_and_its_label_leads_to_the_original(folder):
    copies, originals = AttackedImages(folder, seed=7), OriginalImages(folder)
    assert copies.metainfo['blocks'] == ATTACKS and copies.metainfo['num_originals'] == 20
    assert len(copies) == 20 * len(ATTACKS)
    for index in (0, 21, 279):
        info = copies.get_data_info(index)
        block, number = divmod(info['gt_label'], 20)
        assert info['attack'] == (ATTACKS[block], 7, number)
        assert info['img_path'] == originals.get_data_info(number)['img_path']
        assert originals.get_data_info(number)['gt_label'] == number


def test_the_steps_attack_and_resize_the_whole_image(folder):
    pipeline = [
        dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.AttackImage'),
        dict(type='dino_plugin.ResizeWhole', square=24), dict(type='dino_plugin.PackImage'),
    ]  # fmt: skip
    copies = AttackedImages(folder, attacks=['crop-strong', 'jpeg-mild'], seed=1, pipeline=pipeline)
    image, label, path = copies[23]
    assert (label, path) == (23, str(folder / '03.jpg'))
    expected = resize(attack_image(read_image(folder / '03.jpg'), 'jpeg-mild', 1, 3), 24, 24)
    assert np.array_equal(image.numpy(), expected)


@pytest.mark.parametrize('attacks', [[], ['crop'], ['crop-mild', 'melt-strong']])
def test_attacks_that_do_not_exist_are_refused(folder, attacks):
    with pytest.raises(ValueError, match='choose one or more of crop-mild'):
        AttackedImages(folder, attacks=attacks)


def test_distractors_are_never_right(folder, copydays):
    bank = OriginalImages(copydays / 'original', distractors=folder)
    labels = [bank.get_data_info(number)['gt_label'] for number in range(len(bank))]
    assert labels == [0, 1, 2, 3] + [-1] * 20
    with pytest.raises(FileNotFoundError, match='nowhere'):
        OriginalImages(folder, distractors=folder / 'nowhere')


def test_copies_of_copydays_belong_to_the_original_of_the_same_four_letters(copydays):
    copies = CopydaysCopies(copydays)
    assert copies.metainfo['blocks'] == ('strong', 'jpegqual/3', 'crops/50')
    labels = [copies.get_data_info(number)['gt_label'] for number in range(len(copies))]
    assert labels == [1, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    only = CopydaysCopies(copydays, blocks=['crops/50'])
    assert [only.get_data_info(number)['gt_label'] for number in range(4)] == [0, 1, 2, 3]


def test_a_layout_that_is_not_that_of_copydays_is_refused(copydays, folder):
    with pytest.raises(FileNotFoundError, match='lacks original of the layout'):
        CopydaysCopies(copydays / 'crops', blocks=[])
    with pytest.raises(FileNotFoundError, match=r'lacks crops/20 .* found of them: strong, jpegqual/3, crops/50'):
        CopydaysCopies(copydays, blocks=['strong', 'crops/20'])
    shutil.copy(PHOTOGRAPHS[0], copydays / 'strong/300001.jpg')
    with pytest.raises(ValueError, match=r'300001.jpg has no original'):
        CopydaysCopies(copydays)
    shutil.copy(PHOTOGRAPHS[0], copydays / 'original/200050.jpg')
    with pytest.raises(ValueError, match='both begin with 2000'):
        CopydaysCopies(copydays)


# --- steps ------------------------------------------------------------------------------------------------------------


def test_the_longer_side_is_shortened_and_small_images_stay():
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    shorter = ResizeWhole(longest=20).transform(dict(img=image, channel_order='rgb'))
    assert np.array_equal(shorter['img'], resize(image, 10, 20)) and shorter['img_shape'] == (10, 20)
    assert np.array_equal(ResizeWhole(longest=60).transform(dict(img=image, channel_order='rgb'))['img'], image)


def test_a_red_image_stays_red():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # BGR, as mmcv loads it
    for step in (ResizeWhole(square=4), CutToBox()):
        results = step.transform(dict(img=red, box=(0, 0, 4, 4)))
        assert (results['img'].reshape(-1, 3) == [255, 0, 0]).all() and results['channel_order'] == 'rgb'


@pytest.mark.parametrize('options', [{}, dict(square=3, longest=4), dict(square=0), dict(longest=-1)])
def test_a_size_is_a_square_or_a_longest_side(options):
    with pytest.raises(ValueError, match='give square or longest'):
        ResizeWhole(**options)


def test_a_box_is_cut_out_and_cut_off_at_the_border():
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)

    def cut(box):
        return CutToBox().transform(dict(img=image, channel_order='rgb', box=box, img_path='a.jpg'))['img']

    assert np.array_equal(cut((10.4, 5, 20.2, 25)), image[5:25, 10:20])
    assert np.array_equal(cut((-5, -5, 10, 100)), image[:, :10])
    assert cut(None) is image
    for box in ((70, 0, 90, 10), (20, 5, 10, 25), (-20, 0, -10, 10)):
        with pytest.raises(ValueError, match='no pixel in the 60 x 30 pixels of a'):
            cut(box)


# --- configs ----------------------------------------------------------------------------------------------------------


def run(cfg, tmp_path, side=32):
    cfg.model.backbone = NETWORK
    loaders = [cfg.test_dataloader, cfg.test_cfg.bank_dataloader, cfg.test_cfg.get('whitening_dataloader')]
    for loader in loaders:
        if loader:
            loader.num_workers = 0
            for step in loader.dataset.pipeline:
                if 'square' in step:
                    step.square = side
    cfg.test_cfg.cache_gigabytes = 0
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    torch.manual_seed(0)
    return Runner.from_cfg(cfg).test()


def test_the_config_for_a_folder_finds_mild_copies_more_often_than_strong_ones(folder, tmp_path):
    cfg = Config.fromfile(config_path('retrieval/copies_folder.py'))
    for loader in (cfg.test_dataloader, cfg.test_cfg.bank_dataloader):
        loader.dataset.data_root = str(folder)
    cfg.test_dataloader.dataset.attacks = ['noise-mild', 'crop-strong']
    scores = run(cfg, tmp_path)
    assert scores['copies/queries'] == 40
    assert scores['copies/mAP/noise-mild'] > scores['copies/mAP/crop-strong'] > 5


@pytest.mark.parametrize('name', ['copies_copydays', 'copies_copydays_whitened'])
def test_the_configs_of_copydays_find_copies_that_are_the_originals(name, copydays, folder, tmp_path):
    cfg = Config.fromfile(config_path(f'retrieval/{name}.py'))
    cfg.test_dataloader.dataset.data_root = str(copydays)
    cfg.test_cfg.bank_dataloader.dataset.update(data_root=str(copydays / 'original'), distractors=str(folder))
    if 'whitening_dataloader' in cfg.test_cfg:
        cfg.test_cfg.whitening_dataloader.dataset.data_root = str(CIFAR)
        cfg.test_cfg.whitening_dataloader.dataset.indices = list(range(0, 1000, 5))
    scores = run(cfg, tmp_path)
    assert scores['copies/mP@1'] == 0  # the folder of distractors holds the originals, too, and ties count against
    cfg = Config.fromfile(config_path(f'retrieval/{name}.py'))
    cfg.test_dataloader.dataset.data_root = str(copydays)
    cfg.test_cfg.bank_dataloader.dataset.data_root = str(copydays / 'original')
    if 'whitening_dataloader' in cfg.test_cfg:
        cfg.test_cfg.whitening_dataloader.dataset.data_root = str(CIFAR)
        cfg.test_cfg.whitening_dataloader.dataset.indices = list(range(0, 1000, 5))
    scores = run(cfg, tmp_path / 'second')
    assert (scores['copies/mAP'], scores['copies/mAP/strong'], scores['copies/queries']) == (100, 100, 11)
