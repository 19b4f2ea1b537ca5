"""`tools/test.py` with a config of configs/video: masks, films and scores, from every kind of checkpoint."""

import json
import runpy
import sys
from uuid import uuid4

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from processes import run_in_processes
from video_clips import small_clips

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.label_masks import read_mask
from dino_plugin.engine.evaluating import clip_segmenter
from dino_plugin.engine.evaluating.clip_segmenter import ClipSegmenter
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.metric import DAVISMetric
from dino_plugin.evaluation.video.scores import evaluate_clip, global_results
from dino_plugin.evaluation.video.segment_clip import segment_clip
from dino_plugin.export.backbone import export_backbone
from dino_plugin.openmmlab.config_files import config_path

ARGUMENTS = dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
NETWORK = dict(model_name='vit_tiny_patch16_224', **ARGUMENTS)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    return small_clips(tmp_path_factory.mktemp('clips'), frames=4, columns=107)


@pytest.fixture(scope='module')
def networks():
    """Teacher and student."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(TimmBackbone('vit_tiny_patch16_224', **ARGUMENTS))
    return made


@pytest.fixture(scope='module')
def checkpoint(networks, tmp_path_factory):
    state = {
        f'distillation.{name}.backbone.{key}': value
        for name, network in zip(('teacher', 'student'), networks)
        for key, value in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp('training') / 'epoch_1.pth'
    torch.save({'meta': {'backbone': networks[0].description}, 'state_dict': state}, path)
    return path


@pytest.fixture
def run_test_tool(repository, clips, tmp_path, monkeypatch):
    def run(checkpoint, *options, root=clips, config='configs/video/davis_folder.py'):
        out, tool = tmp_path / 'results.json', str(repository / 'tools/test.py')
        command = [tool, str(repository / config), str(checkpoint), '--work-dir', str(tmp_path / 'work')]
        command += ['--out', str(out), '--cfg-options', 'log_level=WARNING', f'experiment_name={uuid4().hex}']
        command += [f'test_dataloader.dataset.data_root={root}', 'model.short_side=48', 'model.multiple=8', *options]
        monkeypatch.setattr(sys, 'argv', command)
        try:
            runpy.run_path(tool, run_name='__main__')
        finally:
            results = json.loads(out.read_text()) if out.is_file() else None
        return results

    return run


def expected_scores(network, clips, **dataset):
    found = [
        evaluate_clip(clip, segment_clip(network, clip, short_side=48, multiple=8))
        for clip in DAVISDataset(clips, **dataset)
    ]
    return {f'davis/{name}': pytest.approx(100 * share) for name, share in global_results(found).items()} | {
        'davis/clips': 3,
        'davis/failed': 0,
    }


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_a_training_checkpoint_gives_the_numbers_of_the_plain_functions(
    run_test_tool, checkpoint, networks, clips, tmp_path, capsys
):
    assert run_test_tool(checkpoint) == expected_scores(networks[0], clips)
    assert 'davis/J&F-Mean' in capsys.readouterr().out
    work = tmp_path / 'work'
    for clip in DAVISDataset(clips):
        masks = list(segment_clip(networks[0], clip, short_side=48, multiple=8))
        for frame, mask in zip(clip.frames, masks):
            path = work / 'davis' / clip.name / f'{frame.stem}.png'
            assert np.array_equal(read_mask(path), mask)
            assert Image.open(path).mode == 'P'
        film = cv2.VideoCapture(str(work / f'overlays/{clip.name}.mp4'))
        assert sum(film.read()[0] for _ in range(10)) == 4
        assert cv2.imread(str(work / f'overlays/{clip.name}.png')) is not None
    assert (work / 'global_results.csv').read_text().startswith('J&F-Mean,')
    assert len((work / 'per-sequence_results.csv').read_text().splitlines()) == 1 + 6  # two objects in each clip


def test_the_student_an_export_and_the_year_are_a_matter_of_options(
    run_test_tool, checkpoint, networks, clips, tmp_path
):
    scores = run_test_tool(checkpoint, 'model.backbone.checkpoint_source=student')
    assert scores == expected_scores(networks[1], clips)
    exported = export_backbone(checkpoint, tmp_path / 'exported')
    assert run_test_tool(exported) == expected_scores(networks[0], clips)
    scores = run_test_tool(checkpoint, config='configs/video/davis2016.py')
    assert scores == expected_scores(networks[0], clips, year=2016)


def test_none_takes_the_network_as_the_config_builds_it(run_test_tool):
    named = [f'model.backbone.{key}={value}' for key, value in NETWORK.items()]
    assert run_test_tool('none', *named)['davis/clips'] == 3


def test_the_variant_of_dinov3_is_another_neighbourhood_and_temperature():
    dino, dinov3 = (Config.fromfile(config_path(f'video/davis2017{name}.py')).model for name in ('', '_dinov3'))
    models = []
    for model in (dino, dinov3):
        model.backbone.update(NETWORK)
        models.append(ClipSegmenter(**{key: value for key, value in model.items() if key != 'type'}))
    common = dict(radius=12, top_k=5)
    assert [model.propagator.num_context for model in models] == [7, 7]
    assert models[0].propagator.settings == dict(common, circular=False, temperature=0.1)
    assert models[1].propagator.settings == dict(common, circular=True, temperature=0.2)
    assert models[0].frame_settings == dict(short_side=480, multiple=64, smooth=True)
    assert models[1].frame_settings == dict(short_side=960, multiple=16, smooth=False)


# --- going on ---------------------------------------------------------------------------------------------------------


def test_finished_clips_are_not_computed_again_unless_the_weights_differ(run_test_tool, checkpoint, monkeypatch):
    computed = []

    def recorded(backbone, clip, *arguments, **options):
        computed.append(clip.name)
        yield from segment_clip(backbone, clip, *arguments, **options)

    monkeypatch.setattr(clip_segmenter, 'segment_clip', recorded)
    first = run_test_tool(checkpoint)
    assert computed == ['blackswan', 'car-shadow', 'libby']
    assert run_test_tool(checkpoint) == first
    assert len(computed) == 3
    student = run_test_tool(checkpoint, 'model.backbone.checkpoint_source=student')
    assert len(computed) == 6
    assert student != first
    run_test_tool(checkpoint, 'model.backbone.checkpoint_source=student', 'model.propagator.top_k=3')
    assert len(computed) == 9


def test_a_clip_that_fails_is_named_and_loses_no_other(run_test_tool, checkpoint, tmp_path, capsys):
    root = small_clips(tmp_path / 'damaged', frames=4, columns=107)
    frame = root / 'JPEGImages/480p/car-shadow/00012.jpg'
    whole = frame.read_bytes()
    frame.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit, match=r"davis/failed': 1"):
        run_test_tool(checkpoint, root=root)
    output = capsys.readouterr()
    assert '1 of 3 clips failed' in output.out + output.err
    assert '00012.jpg: the file is truncated' in output.out + output.err
    partial = json.loads((tmp_path / 'results.json').read_text())
    assert (partial['davis/clips'], partial['davis/failed']) == (2, 1)
    assert [path.stem for path in sorted((tmp_path / 'work/finished').iterdir())] == ['blackswan', 'libby']
    frame.write_bytes(whole)
    assert run_test_tool(checkpoint, root=root)['davis/clips'] == 3


def test_clips_without_annotation_get_masks_and_no_score(run_test_tool, checkpoint, tmp_path):
    root = small_clips(tmp_path / 'own', ['libby'], frames=3, columns=107, masks=1)
    assert run_test_tool(checkpoint, root=root) == {'davis/clips': 0, 'davis/failed': 0}
    assert len(list((tmp_path / 'work/davis/libby').iterdir())) == 3
    assert not (tmp_path / 'work/global_results.csv').exists()


# --- processes --------------------------------------------------------------------------------------------------------


def evaluate(rank, clips, work_dir, launcher):
    cfg = Config.fromfile(config_path('video/davis_folder.py'))
    cfg.model.backbone.update(NETWORK)
    cfg.model.update(short_side=48, multiple=8)
    cfg.test_dataloader.dataset.data_root = clips
    cfg.update(work_dir=work_dir, launcher=launcher, experiment_name=f'rank{rank}', log_level='WARNING')
    cfg.model_wrapper_cfg = dict(device_ids=None, broadcast_buffers=False)
    results = Runner.from_cfg(cfg).test()
    with open(f'{work_dir}/results{rank}.json', 'w') as file:
        json.dump(results, file)


def test_two_processes_share_the_clips_and_find_what_one_finds(clips, tmp_path):
    run_in_processes(evaluate, str(clips), str(tmp_path / 'two'), 'pytorch')
    evaluate(0, str(clips), str(tmp_path / 'one'), 'none')
    first, second, alone = (
        json.loads((tmp_path / name).read_text())
        for name in ('two/results0.json', 'two/results1.json', 'one/results0.json')
    )
    assert first == second == pytest.approx(alone)
    assert alone['davis/clips'] == 3
    for path in (tmp_path / 'one/davis').rglob('*.png'):
        assert np.array_equal(read_mask(path), read_mask(tmp_path / 'two' / path.relative_to(tmp_path / 'one')))
    assert (tmp_path / 'two/global_results.csv').read_text() == (tmp_path / 'one/global_results.csv').read_text()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_the_model_refuses_training_and_unknown_precisions(clips):
    model = ClipSegmenter(dict(type='dino_plugin.TimmBackbone', **NETWORK))
    with pytest.raises(ValueError, match='has no loss'):
        model(DAVISDataset(clips)[0], mode='loss')
    with pytest.raises(ValueError, match="got 'int8'"):
        ClipSegmenter(dict(type='dino_plugin.TimmBackbone', **NETWORK), precision='int8')


def test_precision_changes_the_network_and_is_part_of_the_settings(networks):
    backbone = dict(type='dino_plugin.TimmBackbone', **NETWORK)
    models = [ClipSegmenter(backbone, precision=precision) for precision in ('fp32', 'bf16')]
    assert [model.autocast_dtype for model in models] == [None, torch.bfloat16]
    for model in models:
        model.backbone.load_state_dict(networks[0].state_dict())
    settings = [model.settings() for model in models]
    assert settings[0]['weights'] == settings[1]['weights']
    assert settings[0] != settings[1]


def test_the_metric_under_mmengines_own_loop_names_ours():
    with pytest.raises(ValueError, match=r'dino_plugin\.ClipTestLoop'):
        DAVISMetric().process(None, [dict(clip=1, masks=iter([]))])
