"""The detection configs, built and run by mmdetection on an mmcv with or without compiled operations."""

import json
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from dino_plugin.commands.image_folders import use_folder
from dino_plugin.openmmlab.config_files import config_path, config_root
from dino_plugin.weights.safe_loading import load_checkpoint

MASK_RCNN = 'detection/vit-small-p16_mask-rcnn_8xb2-1x_coco.py'
CUSTOM = 'detection/vit-small-p16_box-bias-detr_1xb4-50e_custom.py'
CONFIGS = sorted(f'detection/{path.name}' for path in (config_root() / 'detection').glob('*.py'))
TINY = dict(model_name='vit_tiny_patch16_224', img_size=32, embed_dim=24, num_heads=2, depth=4)
CLASSES = ('red', 'green', 'blue')


@pytest.fixture
def mmdet():
    """mmdetection's registry of models, as the default scope."""
    cure = 'pip install "dino_plugin[detection]" && pip install --no-deps onedl-mmdetection'
    pytest.importorskip('mmdet', reason=f'mmdetection is not installed: {cure}')
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmdet'):
        yield MODELS


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Images with one or two squares, whose colour is their class, in the layout of the configs and in COCO's."""
    random, root = np.random.default_rng(0), tmp_path / 'boxes'
    (root / 'annotations').mkdir(parents=True)
    for kind, order in (('train', (0, 1, 2)), ('val', (2, 0, 1))):
        images, boxes = [], []
        for number in range(4):
            picture = np.full((48, 64, 3), 90, np.uint8)
            for label in range(1 + number % 2):
                x, y, size = (*random.integers(0, 24, 2).tolist(), 20 + 4 * label)
                picture[y : y + size, x : x + size] = np.eye(3)[(label + number) % 3] * 255
                square = [x, y, x + size, y, x + size, y + size, x, y + size]
                boxes.append(dict(id=len(boxes), image_id=number, category_id=1 + (label + number) % 3, area=size**2,
                                  bbox=[x, y, size, size], segmentation=[square], iscrowd=0))  # fmt: skip
            for folder in (kind, f'{kind}2017'):
                (root / folder).mkdir(exist_ok=True)
                cv2.imwrite(str(root / folder / f'{number}.png'), picture[..., ::-1])
            images.append(dict(id=number, file_name=f'{number}.png', width=64, height=48))
        categories = [dict(id=1 + label, name=CLASSES[label]) for label in order]
        content = json.dumps(dict(images=images, annotations=boxes, categories=categories))
        for year in ('', '2017'):
            (root / f'annotations/instances_{kind}{year}.json').write_text(content)
    return root


def load(name: str, root: Path, work_dir: Path) -> Config:
    cfg = Config.fromfile(config_path(name))
    cfg.model.data_root = str(root)
    cfg.model.backbone.update(TINY)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
        for step in loader.dataset.pipeline:
            if 'Resize' in step.type:
                step.update({'scales' if 'scales' in step else 'scale': [(64, 48)] if 'scales' in step else (64, 48)})
    if 'encoder' in cfg.model:
        small = dict(num_layers=2, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=16)))
        small_test = dict(max_per_img=6)
        cfg.merge_from_dict(dict(model=dict(num_queries=6, encoder=small, decoder=small, test_cfg=small_test)))
    else:
        few = dict(nms_pre=20, max_per_img=20)
        cfg.merge_from_dict({
            'model.roi_head.bbox_head.fc_out_channels': 16, 'model.roi_head.mask_head.num_convs': 1,
            'model.train_cfg.rpn_proposal': few, 'model.test_cfg.rpn': few, 'model.train_cfg.rcnn.sampler.num': 16,
        })  # fmt: skip
    cfg.update(work_dir=str(work_dir), experiment_name=uuid4().hex)
    cfg.visualizer.name = cfg.experiment_name  # mmengine takes one with a known name again, with its old folder
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = None
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_and_tests(name, mmdet, data_root, tmp_path):
    cfg = load(name, data_root, tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    moved = {key for key, value in runner.model.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith(('bbox_head.fc_cls', 'roi_head.mask_head')) for key in moved)
    assert any(key.startswith('backbone') for key in moved) == (name == MASK_RCNN), 'the others are frozen'
    for part in ('decoder.biases.1.along_x.0.weight', 'proposal_head.fc_cls.weight'):
        assert (part in moved) == ('box-bias' in name)
    head = runner.model.roi_head.bbox_head if 'mask-rcnn' in name else runner.model.bbox_head
    assert head.num_classes == len(CLASSES)
    assert load_checkpoint(str(tmp_path / 'work/epoch_1.pth'))['state_dict'].keys() == before.keys()


def test_another_folder_is_one_option(data_root):
    cfg = Config.fromfile(config_path(CUSTOM))
    use_folder(cfg, str(data_root))
    parts = cfg.model, cfg.train_dataloader.dataset, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    assert {part.data_root for part in parts} == {str(data_root)}


def test_classes_keep_their_order_in_a_test_and_perfect_boxes_have_an_ap_of_one(mmdet, data_root, tmp_path):
    from mmdet.registry import DATASETS, METRICS

    cfg = load(CUSTOM, data_root, tmp_path)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    assert dataset.metainfo['classes'] == CLASSES
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for place in range(len(dataset)):
        sample = dataset[place]['data_samples']
        boxes = sample.gt_instances.bboxes.tensor / torch.tensor(sample.scale_factor).repeat(2)
        found = dict(bboxes=boxes, scores=torch.ones(len(boxes)), labels=sample.gt_instances.labels)
        metric.process({}, [dict(pred_instances=found, **sample.metainfo)])
    assert metric.evaluate(len(dataset))['coco/bbox_mAP'] == 1


def test_files_that_do_not_fit_are_refused_before_training(mmdet, data_root, tmp_path):
    from mmdet.registry import DATASETS

    dataset = load(CUSTOM, data_root, tmp_path).train_dataloader.dataset
    with pytest.raises(ValueError, match=r"has no box with an area of the classes \('cow',\)"):
        DATASETS.build(dict(dataset, metainfo=dict(classes=('cow',))))
    content = json.loads((data_root / 'annotations/instances_train.json').read_text())
    for untrained in ([1, 1, 0.5, 9], [64, 1, 9, 9]):
        for box in content['annotations']:
            box.update(bbox=untrained)
        (data_root / 'annotations/none.json').write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r'has no box with an area .* inside of its image'):
            DATASETS.build(dict(dataset, ann_file='annotations/none.json'))
    content['images'][3].update(width=48, height=64)
    (data_root / 'annotations/turned.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'3\.png has 64 x 48 pixels .* say 48 x 64'):
        DATASETS.build(dict(dataset, ann_file='annotations/turned.json'))
    (data_root / 'train/2.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 4 images of the annotations .*2\.png'):
        DATASETS.build(dataset)


def built(mmdet, root, **options):
    """The detector of `CUSTOM` with these options, whose weights are drawn anew."""
    cfg = load(CUSTOM, root, root / 'work').model
    torch.manual_seed(0)
    model = mmdet.build(dict(cfg, **options))
    model.init_weights()
    return model


@pytest.mark.parametrize('proposals', [False, True])
def test_the_boxes_do_not_depend_on_padding(proposals, mmdet, data_root):
    """An image alone, and in the corner of a larger one, as beside a larger image in a batch."""
    from mmdet.structures import DetDataSample

    model = built(mmdet, data_root, proposals=proposals).eval()
    image, padded = torch.randn(1, 3, 48, 64), torch.zeros(1, 3, 80, 96)
    padded[:, :, :48, :64] = image
    features = model.extract_feat(image)[0]
    wide = torch.zeros(1, 256, 5, 6)
    wide[:, :, :3, :4] = features
    found = []
    for maps, size in ((features, (48, 64)), (wide, (80, 96))):
        sample = DetDataSample(metainfo=dict(img_shape=(48, 64), batch_input_shape=size))
        found.append(model.bbox_head(**model.forward_transformer((maps,), [sample])))
    for alone, beside in zip(*found):
        torch.testing.assert_close(alone, beside, rtol=1e-3, atol=1e-4)
    with torch.autocast('cpu', torch.bfloat16):
        _, boxes = model.bbox_head(**model.forward_transformer((wide,), [sample]))
    torch.testing.assert_close(boxes.float(), found[1][1], rtol=0, atol=0.05)


def losses_of(model, samples):
    """Losses of a step, those of the queries and those of the extra ones."""
    found = model.loss(torch.ones(len(samples), 3, 48, 64), samples)
    extra = {name.removeprefix('extra.'): value for name, value in found.items() if name.startswith('extra.')}
    return {name: value for name, value in found.items() if not name.startswith(('extra.', 'proposals.'))}, extra


def test_extra_queries_are_trained_by_themselves_with_each_box_several_times(mmdet, data_root):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    boxes = InstanceData(bboxes=torch.tensor([[2.0, 3, 30, 40], [20, 5, 60, 33]]), labels=torch.tensor([2, 0]))
    size = dict(img_shape=(48, 64), batch_input_shape=(48, 64), scale_factor=(1, 1), ori_shape=(48, 64))
    samples = [DetDataSample(metainfo=size, gt_instances=boxes)]
    plain = built(mmdet, data_root, proposals=False, extra_queries=0)
    model = built(mmdet, data_root, proposals=False, extra_queries=18, repeats=3)
    model.load_state_dict(plain.state_dict(), strict=False)
    alone, none = losses_of(plain, samples)
    own, extra = losses_of(model, samples)
    assert not none
    assert own == alone != extra, 'to the bit'
    with torch.no_grad():
        model.extra_embedding.weight.copy_(model.query_embedding.weight.repeat(3, 1))
    own, extra = losses_of(model, samples)
    assert own == alone, 'whatever the extra queries are'
    for name, value in own.items():  # three times the queries for three times the boxes
        torch.testing.assert_close(extra[name], value, msg=name)
    found, expected = (detector.eval().predict(torch.ones(1, 3, 48, 64), samples)[0] for detector in (model, plain))
    assert torch.equal(found.pred_instances.bboxes, expected.pred_instances.bboxes)
    with pytest.raises(ValueError, match='repeats=0 one from 1 on'):
        built(mmdet, data_root, extra_queries=18, repeats=0)


def test_queries_begin_at_the_best_proposals_and_extra_ones_at_the_next(mmdet, data_root):
    from mmdet.structures import DetDataSample

    model = built(mmdet, data_root, proposals=True, extra_queries=4)
    sample = DetDataSample(metainfo=dict(img_shape=(48, 48), batch_input_shape=(48, 64)))
    memory, options = model._encoded((torch.randn(1, 256, 3, 4),), [sample])
    scores = model.proposal_head.fc_cls(memory)[0].amax(-1).unflatten(0, (3, 4))
    cells = sorted(((row, column) for row in range(3) for column in range(3)), key=lambda cell: -scores[cell])
    expected = [[(column + 0.5) / 3, (row + 0.5) / 3, 0.1, 0.1] for row, column in cells]
    starts = [start.sigmoid()[0] for start in model._starts(memory, **options)]
    assert [len(start) for start in starts] == [6, 4]
    torch.testing.assert_close(torch.cat(starts)[:9], torch.tensor(expected))  # the tenth is in the padding
    model.extra_queries, model.num_queries = 4, 12
    assert len(model._starts(memory, **options)) == 1, 'no cell is left'


def test_deformable_attention_without_compiled_operations_has_the_gradients_of_its_plain_form(mmdet):
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    from dino_plugin.openmmlab import stand_ins

    values, weights = torch.rand(2, 15, 2, 4, requires_grad=True), torch.rand(2, 3, 2, 2, 1, requires_grad=True)
    places, shapes = torch.rand(2, 3, 2, 2, 1, 2, requires_grad=True), torch.tensor([[3, 4], [1, 3]])
    expected = multi_scale_deformable_attn_pytorch(values, shapes.tolist(), places, weights)
    gradient, into = torch.rand_like(expected), [torch.zeros_like(x) for x in (values, places, weights)]
    given = (values.detach(), shapes, torch.tensor([0, 12]), places.detach(), weights.detach())
    torch.testing.assert_close(stand_ins.ms_deform_attn_forward(*given, im2col_step=64), expected.detach())
    stand_ins.ms_deform_attn_backward(*given, gradient, *into, im2col_step=64)
    for found, derivative in zip(into, torch.autograd.grad(expected, (values, places, weights), gradient)):
        torch.testing.assert_close(found, derivative)


@pytest.mark.parametrize('frozen', [False, True])
def test_a_detector_has_five_scales_and_layers_with_rates_of_their_own(mmdet, data_root, frozen):
    cfg = Config.fromfile(config_path(MASK_RCNN))
    cfg.model.data_root = str(data_root)
    cfg.model.backbone.update(model_name='vit_small_patch16_224', frozen=frozen)
    model = mmdet.build(cfg.model)
    maps = model.extract_feat(torch.randn(1, 3, 224, 320))
    assert [tuple(features.shape[2:]) for features in maps] == [(56, 80), (28, 40), (14, 20), (7, 10), (4, 5)]
    rates = {group['lr'] for group in build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups}
    expected = {1e-4} if frozen else {1e-4 * 0.75**distance for distance in range(14)}
    assert sorted(rates) == pytest.approx(sorted(expected))


class Parts(nn.Module):
    """In place of the detector, where mmdetection is not installed."""

    def __init__(self, backbone, neck, **_):
        super().__init__()
        self.backbone, self.neck = MODELS.build(backbone), neck


@pytest.mark.parametrize('width', [192, 384])
def test_the_pyramid_is_as_wide_as_the_network(width, data_root):
    cfg = Config.fromfile(config_path(MASK_RCNN))
    cfg.model.update(model=Parts, data_root=str(data_root))
    cfg.model.backbone.update(model_name='vit_tiny_patch16_224', embed_dim=width, num_heads=3, depth=4)
    model = MODELS.build(cfg.model)
    pyramid, network = model.neck
    assert (pyramid.embed_dim, network.in_channels, network.out_channels) == (width, [width] * 4, 256)
    assert model.backbone.out_channels == (width,) * 4
