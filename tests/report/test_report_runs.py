"""What a working directory tells of its run: numbers, states, warnings, settings, pictures and films."""

import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_runs import COLLAPSE, ENVIRONMENT, log_line, record, write_picture, write_run
from PIL import Image

from dino_plugin.commands.console import SILENCED
from dino_plugin.report.content import content, summary
from dino_plugin.report.curves import not_finite, panels, thinned
from dino_plugin.report.folders import find_runs
from dino_plugin.report.log_file import LogFile
from dino_plugin.report.page import Embedded
from dino_plugin.report.pictures import film_as_webp, films, picture_as_webp, pictures, spread
from dino_plugin.report.runs import Run
from dino_plugin.report.settings import differences, read_settings
from dino_plugin.report.words import MEANINGS, OTHER, about_picture, meaning
from dino_plugin.visualization.overlay import VideoWriter
from dino_plugin.visualization.scalars import ScalarFile


def read(folder: Path, now: float | None = None) -> Run:
    run = Run(folder.name, folder)
    run.update(now)
    return run


# --- states -----------------------------------------------------------------------------------------------------------


def test_a_run_that_reached_its_last_iteration_has_ended(tmp_path):
    run = read(write_run(tmp_path / 'run', steps=20, epochs=2), now=time.time() + 1e6)
    assert run.state == 'ended'
    assert run.sentence == 'Ended: epoch 2 of 2, 20 iterations.'


def test_a_run_that_wrote_a_moment_ago_is_running(tmp_path):
    run = read(write_run(tmp_path / 'run', steps=15))
    assert (run.state, run.sentence) == ('running', 'Running: epoch 2 of 2, 15 of 20 iterations.')


def test_a_run_that_is_silent_for_long_has_crashed(tmp_path):
    run = read(write_run(tmp_path / 'run', steps=15), now=time.time() + 3600)
    assert run.state == 'crashed'
    assert run.sentence.startswith(
        'No sign of life for 60 minutes: epoch 2 of 2, 15 of 20 iterations. It crashed or was killed. '
    )
    assert run.sentence.endswith('It saved no checkpoint.')
    (tmp_path / 'run/last_checkpoint').write_text('iter_10.pth')
    (tmp_path / 'run/iter_10.pth').touch()
    assert read(tmp_path / 'run', now=time.time() + 3600).sentence.endswith('The same command with --resume goes on.')


def test_a_run_that_logs_rarely_may_be_silent_for_longer(tmp_path):
    folder = write_run(tmp_path / 'run', steps=15, epochs=100)
    file = folder / '20260101_100000/vis_data/scalars.json'
    file.write_text(''.join(json.dumps(record(step, time=5.0)) + '\n' for step in (100, 200)))  # 500 s apart
    assert read(folder, now=time.time() + 4000).state == 'running'
    assert read(folder, now=time.time() + 6000).state == 'crashed'


def test_a_last_iteration_that_is_not_logged_is_known_from_its_checkpoint(tmp_path):
    folder = write_run(tmp_path / 'run', steps=18)
    later = time.time() + 3600
    (folder / 'last_checkpoint').write_text('epoch_2.pth')
    assert read(folder, later).state == 'crashed'
    (folder / 'epoch_2.pth').touch()
    assert read(folder, later).sentence.startswith('Ended: epoch 2 of 2, 20 iterations.')


def test_a_run_that_starts_again_where_one_has_ended_is_judged_by_itself(tmp_path):
    folder = write_run(tmp_path / 'run', steps=20)
    (folder / 'last_checkpoint').write_text('epoch_2.pth')
    (folder / 'epoch_2.pth').touch()
    os.utime(folder / 'epoch_2.pth', (1e9, 1e9))
    write_run(folder, dated='20260102_100000', steps=3)
    run = read(folder)
    assert (run.sentence, run.step) == ('Running: epoch 1 of 2, 3 of 20 iterations.', 3)


def test_a_run_that_a_signal_stopped_says_so_until_it_goes_on(tmp_path):
    folder = write_run(tmp_path / 'run', steps=15)
    (folder / 'stopped_iter_15.pth').touch()
    (folder / 'last_checkpoint').write_text('/elsewhere/stopped_iter_15.pth')
    later = time.time() + 3600
    assert read(folder, later).state == 'stopped'
    write_run(folder, dated='20260102_100000', first=16, steps=18)
    assert read(folder, later).state == 'crashed'


def test_a_folder_without_log_and_numbers_is_empty(tmp_path):
    (tmp_path / 'run/20260101_100000/vis_data').mkdir(parents=True)
    run = read(tmp_path / 'run')
    assert (run.state, run.step, run.scalars) == ('empty', 0, {})


def test_the_checkpoint_is_named_with_its_damage(tmp_path):
    folder = write_run(tmp_path / 'run')
    assert read(folder).checkpoint == 'none'
    (folder / 'last_checkpoint').write_text('somewhere/epoch_2.pth\n')
    assert read(folder).checkpoint == 'none', 'the file that it names is not there'
    with zipfile.ZipFile(folder / 'epoch_2.pth', 'w') as file:
        file.writestr('data.pkl', b'0' * 1000)
    assert read(folder).checkpoint == 'epoch_2.pth'
    os.truncate(folder / 'epoch_2.pth', 100)
    run = read(folder)
    assert run.checkpoint == 'epoch_2.pth, which is damaged'
    assert run.sentence.endswith('Its newest checkpoint is damaged.')


def test_a_test_is_no_crashed_training(tmp_path):
    folder = tmp_path / 'run'
    (folder / '20260101_100000').mkdir(parents=True)
    (folder / '20260101_100000/x.log').write_text(log_line('Epoch(test) [ 4/40]    eta: 0:00:01'))
    run = read(folder, now=time.time() + 3600)
    assert (run.state, run.sentence) == ('ended', 'A test, no training: its figures are in the log.')


def vanished(file: object) -> bool:
    raise FileNotFoundError


def test_a_file_that_vanishes_while_it_is_read_is_no_mistake(tmp_path, monkeypatch):
    folder = write_run(tmp_path / 'run')
    run = read(folder)
    with monkeypatch.context() as context:
        context.setattr(ScalarFile, 'update', vanished)
        context.setattr(LogFile, 'update', vanished)
        run.update()
    assert run.step == 20


def test_iterations_are_counted_where_there_are_no_epochs(tmp_path):
    folder = tmp_path / 'run'
    (folder / '20260101_100000').mkdir(parents=True)
    log = folder / '20260101_100000/20260101_100000.log'
    log.write_text(log_line('Iter(train) [ 30/60]  loss: 1.0'))
    assert read(folder).sentence == 'Running: 30 of 60 iterations.'
    log.write_text(log_line('Iter(train) [ 30/60]  loss: 1.0') + log_line('Iter(train) [60/60]  loss: 1.0'))
    assert read(folder).state == 'ended'


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_read_on(tmp_path):
    folder = write_run(tmp_path / 'run', steps=15)
    run = read(folder)
    with (folder / '20260101_100000/vis_data/scalars.json').open('a') as file:
        file.write(json.dumps(record(16)) + '\n{"loss": 0.')
    with (folder / '20260101_100000/20260101_100000.log').open('a') as file:
        file.write(log_line('Epoch(train) [2][ 6/10]  loss: 3.2') + log_line('it is getting late', 'WARNING'))
    run.update()
    assert run.step == 16
    assert list(run.scalars['loss']) == list(range(1, 17))
    assert [warned.text for warned in run.warnings] == ['it is getting late']


def test_starts_of_one_run_are_joined(tmp_path):
    folder = write_run(tmp_path / 'run', steps=12)
    write_run(folder, dated='20260102_100000', first=11, steps=20)
    run = read(folder)
    assert list(run.scalars['loss']) == list(range(1, 21))
    assert run.state == 'ended'


def test_a_long_curve_keeps_its_peaks_and_its_ends():
    x = np.arange(100_000.0)
    y = np.sin(x / 1000)
    y[77_777], y[5], y[300:320] = 50.0, -50.0, np.nan
    kept_x, kept_y = thinned(x, y, 2000)
    assert len(kept_x) <= 2000
    assert (kept_x[0], kept_x[-1]) == (0, 99_999)
    assert (np.diff(kept_x) > 0).all()
    assert np.nanmax(kept_y) == 50.0 and np.nanmin(kept_y) == -50.0
    np.testing.assert_array_equal(y[kept_x.astype(int)], kept_y)


def test_a_stretch_without_finite_values_stays_a_gap():
    y = np.ones(10_000)
    y[4000:6000] = np.nan
    x, kept = thinned(np.arange(10_000.0), y, 400)
    assert np.isnan(kept[(x >= 4100) & (x < 5900)]).all()
    assert (x >= 4100).any()


def test_a_short_curve_stays_as_it_is():
    x, y = np.arange(7.0), np.arange(7.0) ** 2
    kept_x, kept_y = thinned(x, y, 8)
    np.testing.assert_array_equal((kept_x, kept_y), (x, y))


def test_values_that_are_not_finite_are_told_in_words(tmp_path):
    folder = write_run(tmp_path / 'run', steps=5)
    file = folder / '20260101_100000/vis_data/scalars.json'
    file.write_text('{"loss": 1.0, "step": 1}\n{"loss": NaN, "step": 2}\n{"loss": Infinity, "step": 3}\n')
    assert not_finite(read(folder)) == ['loss was not a finite number at 2 of 3 points, first at iteration 2.']


def test_every_scalar_has_a_panel_with_the_runs_that_logged_it(tmp_path):
    runs = [read(write_run(tmp_path / 'a', steps=3)), read(write_run(tmp_path / 'b', steps=4))]
    shown = {panel['name']: panel for panel in panels(runs)}
    logged = {'knn/top1_k20', 'loss', 'loss_dino', 'target_information', 'feature_std', 'time'}
    assert set(shown) == logged
    assert next(iter(shown)) == 'knn/top1_k20', 'quality comes first'
    assert [curve['run'] for curve in shown['loss']['curves']] == [0, 1]
    del runs[0].scalars['loss']
    assert [curve['run'] for curve in panels(runs)[1]['curves']] == [1]


def test_the_summary_has_the_course_of_knn_and_the_last_loss(tmp_path):
    shown = summary(read(write_run(tmp_path / 'run', steps=20)))
    assert (shown['quality'], shown['loss'], shown['step']) == ('30.0 → 42.5 %', f'{6 - np.log(20):.4g}', 20)


# --- log --------------------------------------------------------------------------------------------------------------


def test_warnings_that_differ_in_numbers_are_one_with_a_count(tmp_path):
    several = (('WARNING', COLLAPSE.format(5)), ('WARNING', COLLAPSE.format(10)), ('ERROR', 'the disk is full'))
    warned = read(write_run(tmp_path / 'run', warnings=several)).warnings
    assert [(one.level, one.count) for one in warned] == [('WARNING', 2), ('ERROR', 1)]
    assert warned[0].text == COLLAPSE.format(10), 'as it came last'


@pytest.mark.parametrize('text', SILENCED)
def test_warnings_that_nobody_can_act_on_are_left_out(tmp_path, text):
    assert read(write_run(tmp_path / 'run', warnings=(('WARNING', f'{text} and so on'),))).warnings == []


def test_a_warning_of_several_lines_is_kept_whole(tmp_path):
    warned = read(write_run(tmp_path / 'run', warnings=(('WARNING', 'one\ntwo\n  three'),))).warnings
    assert [one.text for one in warned] == ['one\ntwo\n  three']


def test_the_environment_and_the_description_are_found(tmp_path):
    run = read(write_run(tmp_path / 'run'))
    assert run.environment == ENVIRONMENT.strip().strip('-\n')
    facts = content([run], Embedded())['runs'][0]['facts']
    assert facts['images'] == '5,000 in batches of 64'
    assert 'continue' not in facts
    assert facts['log'] == '2026/01/01 10:00:00 to 2026/01/01 10:00:22'


def test_a_damaged_log_is_no_mistake(tmp_path):
    folder = write_run(tmp_path / 'run')
    (folder / '20260101_100000/20260101_100000.log').write_bytes(b'\xff\xfe\0 no log\n - - \n' + bytes(range(256)))
    assert read(folder).warnings == []


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_have_the_names_of_cfg_options():
    settings = read_settings("a = dict(b=dict(c=1), d=[dict(e='x'), 2], f=(0.9, 0.95))\nh = {'i': None}\nj = 1e-3\n")
    expected = {'a.b.c': '1', 'a.d.0.e': "'x'", 'a.d.1': '2', 'a.f': '(0.9, 0.95)', 'h.i': 'None', 'j': '0.001'}
    assert settings == expected


def test_a_config_is_never_run(tmp_path):
    settings = read_settings(f"import os\nos.mkdir({str(tmp_path / 'made')!r})\na = print('here')\n")
    assert settings == {'a': "print('here')"}
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('text', ['', 'a = (', '\0', 'a = ' + '(' * 5000, 'x' * 10, '<html>'])
def test_a_config_that_is_no_python_has_no_settings(text):
    assert read_settings(text) == {}


def test_only_settings_that_differ_are_compared(tmp_path):
    runs = [read(write_run(tmp_path / 'a')), read(write_run(tmp_path / 'b', lr=0.1)), read(write_run(tmp_path / 'c'))]
    runs[2].settings['more'] = '1'
    assert differences([run.settings for run in runs]) == {
        'optim_wrapper.optimizer.lr': ['0.001', '0.1', '0.001'],
        'more': ['', '', '1'],
    }


def test_of_a_part_that_a_run_lacks_only_the_type_is_told():
    hook = {'hooks.0.type': "'A'", 'hooks.0.bank.size': '3', 'hooks.0.bank.type': "'B'", 'lr': '1'}
    assert differences([hook, {'lr': '1'}, hook]) == {'hooks.0.type': ["'A'", '', "'A'"]}
    other = hook | {'hooks.0.bank.size': '4'}
    assert differences([hook, {'lr': '1'}, other]) == {
        'hooks.0.type': ["'A'", '', "'A'"],
        'hooks.0.bank.size': ['3', '', '4'],
    }
    assert differences([{'a.b': '1', 'a.c': '2'}, {}]) == {'a.b': ['1', ''], 'a.c': ['2', '']}, 'a part without type'


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_working_directories_is_searched(tmp_path):
    for name in ('a', 'group/b', 'group/deeper/a', 'no/run/here/at/all'):
        if name.startswith('no'):
            (tmp_path / name).mkdir(parents=True)
        else:
            write_run(tmp_path / name)
    found = find_runs([tmp_path])
    assert set(found) == {'a', 'b', 'deeper/a'}
    assert found['deeper/a'] == tmp_path / 'group/deeper/a'


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(tmp_path):
    folder = write_run(tmp_path / os.fsdecode(b'na\xffme'))
    assert find_runs([tmp_path]) == {'na?me': folder}


def test_a_working_directory_given_twice_is_one_run(tmp_path):
    folder = write_run(tmp_path / 'run')
    assert find_runs([folder, tmp_path, f'{folder}/']) == {'run': folder}


def test_trainings_inside_a_working_directory_are_not_mixed_in(tmp_path):
    folder = write_run(tmp_path / 'run')
    write_run(folder / 'segmentation')
    assert find_runs([tmp_path]) == {'run': folder}
    assert set(find_runs([folder / 'segmentation'])) == {'segmentation'}


def test_nothing_outside_the_folders_is_read_through_links(tmp_path):
    secret = write_run(tmp_path / 'outside', warnings=(('WARNING', 'secret'),))
    write_picture(secret / 'views.png')
    folder = tmp_path / 'given/run/20260101_100000'
    folder.mkdir(parents=True)
    (tmp_path / 'given/linked').symlink_to(secret)
    (folder / 'vis_data').symlink_to(secret / '20260101_100000/vis_data')
    (folder / 'x.log').symlink_to(secret / '20260101_100000/20260101_100000.log')
    (folder.parent / 'views.png').symlink_to(secret / 'views.png')
    (folder.parent / 'last_checkpoint').write_text('../../outside/views.png')
    (folder.parent / 'circle.png').symlink_to(folder.parent / 'circle.png')
    found = find_runs([tmp_path / 'given'])
    assert set(found) == {'run'}
    run = read(found['run'])
    assert (run.scalars, run.warnings, run.config, run.checkpoint, run.state) == ({}, [], '', 'none', 'empty')
    assert pictures(run.folder) == {}


def test_a_link_inside_the_folder_is_followed(tmp_path):
    folder = write_run(tmp_path / 'run')
    write_picture(folder / 'kept/one.png')
    (folder / 'views.png').symlink_to(folder / 'kept/one.png')
    assert set(pictures(folder)) == {'views'}


# --- pictures and films -----------------------------------------------------------------------------------------------


def test_pictures_of_visualizers_are_series_by_iteration(tmp_path):
    folder = write_run(tmp_path / 'run')
    stored = folder / '20260101_100000/vis_data/vis_image'
    for name in ('pictures/views_20', 'pictures/views_3', 'pictures/pca_20', 'plain_7', 'no number'):
        write_picture(stored / f'{name}.png')
    found = pictures(folder)
    assert {name: list(frames) for name, frames in found.items()} == {
        'pictures/views': [3, 20], 'pictures/pca': [20], 'plain': [7],
    }  # fmt: skip


def test_a_later_start_replaces_pictures_of_the_same_iteration(tmp_path):
    paths = [write_picture(tmp_path / f'2026010{day}_1/vis_data/vis_image/views_5.png') for day in (1, 2)]
    assert pictures(tmp_path)['views'] == {5: paths[1]}


def test_pictures_of_the_tools_are_found_and_masks_are_not(tmp_path):
    for name in ('views', 'curves', 'propagation/overlays/swan', 'overlays/bear', 'propagation/davis/swan/00000'):
        write_picture(tmp_path / f'{name}.png')
    assert list(pictures(tmp_path)) == ['views', 'bear', 'propagation/swan', 'curves']


def test_of_a_long_series_some_are_shown_with_the_first_and_the_last():
    frames = {step: Path(str(step)) for step in range(0, 1000, 10)}
    shown = list(spread(frames, 5))
    assert shown == [0, 250, 500, 740, 990]
    assert spread(frames, 1000) == frames


def test_a_picture_becomes_a_webp_of_the_same_colours(tmp_path):
    data = picture_as_webp(write_picture(tmp_path / 'wide.png', colour=(200, 30, 60), size=(300, 2560)))
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == ('WEBP', (1280, 150))
    assert np.abs(np.asarray(image)[75, 640].astype(int) - (60, 30, 200)).max() < 8


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n', b'GIF89a'])
def test_a_damaged_picture_is_left_out(tmp_path, content):
    path = tmp_path / 'views.png'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='no whole picture'):
        picture_as_webp(path)
    assert Embedded().picture(Run('run', tmp_path), path) == ''


def test_a_film_becomes_an_animated_webp_with_its_first_frame(tmp_path):
    path = tmp_path / 'propagation/overlays/swan.mp4'
    with VideoWriter(path, frames_per_second=10) as film:
        for number in range(130):
            frame = np.full((48, 64, 3), 200 if number < 65 else 20, np.uint8)
            frame[:8, number % 50 : number % 50 + 12] = 110  # WebP joins frames that are alike
            film.write(frame)
    write_picture(path.with_suffix('.png'))
    assert films(tmp_path) == {'propagation/swan': path}
    assert pictures(tmp_path) == {}, 'the sheet of a film tells less'
    moving, still = (Image.open(io.BytesIO(data)) for data in film_as_webp(path))
    assert (moving.format, moving.n_frames, still.n_frames, moving.size) == ('WEBP', 44, 1, (64, 48))
    assert abs(int(np.asarray(still.convert('L'))[24, 32]) - 200) < 10
    shades = []
    for number in (0, 43):
        moving.seek(number)
        shades.append(int(np.asarray(moving.convert('L'))[24, 32]))
    assert abs(shades[0] - 200) < 10 and abs(shades[1] - 20) < 10
    assert moving.info['duration'] == 300, 'every third frame of 100 ms'


def test_a_damaged_film_is_left_out(tmp_path):
    path = tmp_path / 'swan.mp4'
    path.write_bytes(b'no film')
    assert Embedded().film(Run('run', tmp_path), path) == ('', '')


def test_a_film_whose_name_is_no_text_is_left_out(tmp_path):
    path = tmp_path / os.fsdecode(b'na\xffme.mp4')
    path.write_bytes(b'film')
    assert Embedded().film(Run('run', tmp_path), path) == ('', '')


def test_the_scorecard_is_a_table_with_its_pictures(tmp_path):
    folder = write_run(tmp_path / 'run')
    card = dict(measures={'mine': {'k-NN': 49.44, 'video J&F': 'no clips'}, 'untrained': {'k-NN': 34.0}}, images=10)
    (folder / 'scorecard').mkdir()
    (folder / 'scorecard/scorecard.json').write_text(json.dumps(card))
    write_picture(folder / 'scorecard/features_0_mine.png')
    (shown,) = content([read(folder)], Embedded())['scorecards']
    assert shown['networks'] == ['mine', 'untrained']
    assert shown['rows'] == [['k-NN', '49.4', '34.0'], ['video J&F', 'no clips', '']]
    assert [picture['name'] for picture in shown['pictures']] == ['features_0_mine']


@pytest.mark.parametrize('text', ['', '{', '[]', '{"measures": 3}', '{"measures": {"a": 3}}'])
def test_a_damaged_scorecard_is_left_out(tmp_path, text):
    folder = write_run(tmp_path / 'run')
    (folder / 'scorecard.json').write_text(text)
    assert content([read(folder)], Embedded())['scorecards'] == []


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('target_information', '0 is collapse'), ('ibot_target_information', '0 is collapse'), ('effective_rank', 'rise'),
     ('feature_std', 'above 0.5'), ('grad_norm', 'lower learning rate'), ('loss', 'Sum'), ('loss_gram', 'anchor'),
     ('loss_align', 'one image'), ('loss_spread', 'distance'),
     ('decode.loss_ce', 'part'), ('knn/top1_k10', 'rise'), ('val/mIoU', 'overlap'), ('mIoU', 'overlap'),
     ('online/linear', 'linear'), ('online/TokenCut CorLoc', 'patch'), ('base_lr', 'warm-up')],
)  # fmt: skip
def test_every_usual_scalar_has_a_sentence_about_health(name, expected):
    assert expected in meaning(name).text


def test_an_unknown_scalar_is_shown_among_others():
    assert meaning('my_number').section == OTHER


def test_no_entry_of_the_dictionary_is_hidden_by_one_before_it():
    for number, entry in enumerate(MEANINGS):
        name = entry.pattern.replace('*', 'x')
        hiding = [before.pattern for before in MEANINGS[:number] if before is meaning(name)]
        assert not hiding, (entry.pattern, hiding)


def test_pictures_have_sentences():
    assert 'student and teacher' in about_picture('pictures/views')
    assert 'first frame' in about_picture('propagation/swan')
    assert about_picture('my_picture') == ''
