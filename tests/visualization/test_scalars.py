"""Scalars of trainings that run, were cut off, or validate by epochs."""

import json

from dino_plugin.visualization.scalars import GrowingFile, ScalarFile, read_scalars


def test_a_half_written_last_line_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss": 5.0, "step": 1}\n{"loss": 4.')
    file = ScalarFile(path)
    file.update()
    assert file.values['loss'] == {1: 5.0}
    with path.open('a') as out:
        out.write('5, "step": 2}\n')
    file.update()
    assert file.values['loss'] == {1: 5.0, 2: 4.5}


def test_each_line_of_a_growing_file_is_given_once(tmp_path):
    path = tmp_path / 'log'
    path.write_text('one\r\ntwo\nthr')
    file = GrowingFile(path)
    assert list(file.new_lines()) == ['one', 'two']
    assert list(file.new_lines()) == []
    path.write_text('one\r\ntwo\nthree\n')
    assert list(file.new_lines()) == ['three']


def test_damaged_lines_are_left_out_and_the_others_read(tmp_path):
    damaged = ['', '\0\0', '{"loss": 1.0', '[1]', '3', '{"loss": 1.0}', '{"loss": 1.0, "step": null}',
               '{"loss": 1.0, "step": Infinity}', '[' * 100_000]  # fmt: skip
    lines = ['{"loss": 5.0, "step": 1, "note": "words"}', *damaged, '{"loss": NaN, "step": 2}']
    (tmp_path / 'vis_data').mkdir()
    (tmp_path / 'vis_data/scalars.json').write_text('\n'.join(lines) + '\n')
    scalars = read_scalars(tmp_path)
    assert set(scalars) == {'loss', 'step'}
    assert list(scalars['loss']) == [1, 2]
    assert scalars['loss'][2] != scalars['loss'][2], 'NaN stays NaN'


def test_a_validation_that_mmengine_counts_in_epochs_is_placed_at_its_iteration(tmp_path):
    lines = [{'val/mIoU': 0.5, 'step': 0}]
    for epoch in (1, 2):
        lines += [dict(loss=1.0, epoch=epoch, iter=78 * epoch, step=78 * epoch), {'val/mIoU': epoch, 'step': epoch}]
        lines += [{'knn/top1_k20': 30.0, 'step': 78 * epoch}]
    path = tmp_path / 'scalars.json'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    file = ScalarFile(path)
    file.update()
    assert file.values['val/mIoU'] == {0: 0.5, 78: 1, 156: 2}
    assert list(file.values['knn/top1_k20']) == [78, 156]


def test_a_training_that_starts_again_replaces_the_longer_one_before_it(tmp_path):
    for day, steps in ((1, 50), (2, 10), (3, 0)):
        (tmp_path / f'2026010{day}_000000/vis_data').mkdir(parents=True)
        lines = [json.dumps(dict(loss=float(day), step=step)) + '\n' for step in range(1, steps + 1)]
        (tmp_path / f'2026010{day}_000000/vis_data/scalars.json').write_text(''.join(lines))
    assert read_scalars(tmp_path)['loss'] == dict.fromkeys(range(1, 11), 2.0)


def test_working_directories_inside_a_working_directory_are_not_mixed_in(tmp_path):
    for folder, loss in (('20260101_000000', 5.0), ('segmentation/20260101_000100', 1.0)):
        (tmp_path / folder / 'vis_data').mkdir(parents=True)
        (tmp_path / folder / 'vis_data/scalars.json').write_text(json.dumps(dict(loss=loss, step=1)) + '\n')
    assert read_scalars(tmp_path)['loss'] == {1: 5.0}
