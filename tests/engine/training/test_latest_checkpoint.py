"""`--resume` without a path: the newest whole file of this folder, whatever became of `last_checkpoint`."""

import os
import re
import shutil

import pytest
import torch
from processes import run_in_processes
from test_checkpoints import config, train

from dino_plugin.commands.runner import Runner
from dino_plugin.engine.training.latest_checkpoint import checkpoints_in, latest_checkpoint


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Six iterations, with checkpoints after 2, 4 and 6."""
    folder = tmp_path_factory.mktemp('trained') / 'run'
    train(config(folder, default_hooks__checkpoint__max_keep_ckpts=-1))
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of it, as `cp -r` makes it; its pointer names the first folder."""
    copy = tmp_path / 'copy'
    shutil.copytree(trained, copy)
    return copy


def own(folder):
    """The pointer names this folder."""
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_6.pth'))
    return folder


def folder_in_its_place(pointer):
    pointer.unlink()
    pointer.mkdir()


POINTERS = {
    'is empty': lambda pointer: pointer.write_text(''),
    'is empty ': lambda pointer: pointer.write_bytes(b'\0' * 60),  # as some file systems leave it after a power cut
    'names no file': lambda pointer: pointer.write_bytes(bytes(range(256))),
    'names no file ': lambda pointer: pointer.write_text('x' * 10_000),
    'names words, which is not in': lambda pointer: pointer.write_text('words'),
    'names /, which is not in': lambda pointer: pointer.write_text('/'),
    'names iter_8.pth, which is not in': lambda pointer: pointer.write_text('iter_8.pth'),
    'names http://127.0.0.1/x.pth, which is not in': lambda pointer: pointer.write_text('http://127.0.0.1/x.pth'),
    'cannot be read (Is a directory)': folder_in_its_place,
    'is missing': lambda pointer: pointer.unlink(),
}


@pytest.mark.parametrize('reason', POINTERS)
def test_a_broken_pointer_gives_the_newest_file_and_the_reason(folder, reason):
    POINTERS[reason](folder / 'last_checkpoint')
    path, why = latest_checkpoint(folder, folder)
    assert path == folder / 'iter_6.pth'
    assert f'last_checkpoint {reason.strip()}' in why


def test_a_whole_file_that_is_named_is_taken_also_if_another_is_newer(folder):
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_4.pth'))
    assert latest_checkpoint(folder, folder) == (folder / 'iter_4.pth', 'last_checkpoint names it')
    (folder / 'last_checkpoint').write_text('iter_4.pth\n')
    assert latest_checkpoint(folder, folder) == (folder / 'iter_4.pth', 'last_checkpoint names it')


def test_a_folder_with_another_way_to_it_is_the_same_one(folder, tmp_path):
    (tmp_path / 'link').symlink_to(folder)
    own(folder)
    assert latest_checkpoint(tmp_path / 'link', tmp_path / 'link')[1] == 'last_checkpoint names it'


def test_a_copied_folder_goes_on_from_its_own_files(trained, folder):
    path, why = latest_checkpoint(folder, folder)
    assert path == folder / 'iter_6.pth'
    assert why == f'last_checkpoint names {trained}/iter_6.pth, in another folder'
    path.unlink()
    path, why = latest_checkpoint(folder, folder)
    assert path == folder / 'iter_4.pth'
    assert why == f'last_checkpoint names {trained}/iter_6.pth, which is not in {folder}'


def truncated(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def with_one_wrong_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def of_weights_only(path):
    torch.save(dict(state_dict=torch.load(path, weights_only=False)['state_dict']), path)


DAMAGES = {
    'iter_6.pth .* cannot be read': truncated,
    'iter_6.pth .* cannot be read.*': lambda path: path.write_bytes(b''),
    'iter_6.pth .*cannot be read.*': with_one_wrong_byte,
    'iter_6.pth is no training checkpoint: it has no meta, message_hub': of_weights_only,
}


@pytest.mark.parametrize('reason', DAMAGES)
def test_a_damaged_newest_file_gives_the_one_before_and_the_reason(folder, reason):
    DAMAGES[reason](own(folder) / 'iter_6.pth')
    path, why = latest_checkpoint(folder, folder)
    assert path == folder / 'iter_4.pth'
    assert re.search(reason, why)


def test_the_newest_file_is_the_one_saved_last_also_where_copies_have_lost_the_times_of_files(folder):
    (folder / 'last_checkpoint').unlink()
    early, late = (str(folder / f'iter_{number}.pth') for number in (6, 4))
    for path, when in ((early, '20250101_000000'), (late, '20260101_000000')):  # an old training was longer
        checkpoint = torch.load(path, weights_only=False)
        checkpoint['meta']['time'] = when
        torch.save(checkpoint, path)
    (folder / 'iter_2.pth').unlink()
    for path, changed in ((early, 2_000_000_000), (late, 1_000_000_000)):
        os.utime(path, (changed, changed))
    assert latest_checkpoint(folder, folder)[0] == folder / 'iter_4.pth'


def test_files_without_a_time_are_in_the_order_of_their_own(folder):
    (folder / 'last_checkpoint').unlink()
    for number, changed in ((2, 3), (4, 1), (6, 2)):
        checkpoint = torch.load(folder / f'iter_{number}.pth', weights_only=False)
        del checkpoint['meta']['time']
        torch.save(checkpoint, folder / f'iter_{number}.pth')
        os.utime(folder / f'iter_{number}.pth', (changed * 1e9, changed * 1e9))
    assert latest_checkpoint(folder, folder)[0] == folder / 'iter_2.pth'


def test_best_files_exports_and_parts_do_not_count_and_names_of_a_template_do(tmp_path):
    names = ['iter_2.pth', 'epoch_10.pth', 'stopped_iter_3.pth', 'state-7.ckpt']
    others = ['best_knn_iter_2.pth', 'iter_2.pth.partial', 'epoch_1.pth~', 'teacher.pth', 'iter_x.pth', 'state-.ckpt']
    for name in [*names, *others]:
        (tmp_path / name).touch()
    (tmp_path / 'iter_9.pth').mkdir()  # DeepSpeed's
    assert {path.name for path in checkpoints_in(tmp_path, 'state-{}.ckpt')} == set(names)
    assert {path.name for path in checkpoints_in(tmp_path)} == set(names[:3])


def test_nothing_saved_yet_starts_at_the_beginning(tmp_path):
    assert latest_checkpoint(tmp_path, tmp_path) == (None, f'{tmp_path} has no checkpoint')
    assert train(config(tmp_path, resume=True)).iter == 6


def test_files_of_which_none_is_whole_are_refused_with_the_cure(folder):
    for path in folder.glob('*.pth'):
        truncated(path)
    with pytest.raises(ValueError, match=r'no whole checkpoint in .*iter_6.*iter_4.*iter_2.*--resume PATH.*--work-dir'):
        train(config(folder, resume=True))


def test_a_name_without_any_file_is_refused_with_the_cure(folder):
    for path in folder.glob('*.pth'):
        path.unlink()
    with pytest.raises(ValueError, match=r'last_checkpoint names .*iter_6.pth, which is not in .*delete last_check'):
        train(config(folder, resume=True))


def test_the_log_says_which_file_and_why(folder, capsys):
    truncated(own(folder) / 'iter_6.pth')
    runner = train(config(folder, resume=True, default_hooks__checkpoint__max_keep_ckpts=-1))
    assert runner.iter == 6
    said = capsys.readouterr()
    assert re.search(
        r'--resume: goes on from .*/iter_4\.pth, because .*iter_6\.pth .*cannot be read', said.out + said.err
    )


def test_a_path_that_is_given_is_taken_as_it_is(folder):
    runner = Runner.from_cfg(config(folder, resume=True, load_from=str(folder / 'iter_2.pth'), experiment_name='given'))
    runner.load_or_resume()
    assert runner.iter == 2


def test_a_training_that_starts_over_earlier_checkpoints_warns(folder, capsys):
    runner = Runner.from_cfg(config(folder, experiment_name='over'))
    runner.train()
    said = capsys.readouterr()
    assert 'holds checkpoints of an earlier training (iter_2.pth, iter_4.pth, iter_6.pth)' in said.out + said.err
    assert 'To go on instead: --resume' in said.out + said.err


def resume_in_two(rank, folder):
    made = config(folder, resume=rank == 0)  # as where a new machine takes the place of a lost one
    made.launcher = 'pytorch'
    made.model_wrapper_cfg = {'device_ids': None, 'broadcast_buffers': False}
    runner = Runner.from_cfg(made)
    try:
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.load_or_resume()
        outcome = str(runner.iter)
    except ValueError as error:
        outcome = str(error)
    with open(f'{folder}/rank{rank}.txt', 'w') as file:
        file.write(outcome)


@pytest.mark.parametrize('whole', [True, False])
def test_if_one_process_resumes_all_take_the_file_of_the_first_or_refuse(folder, whole):
    (folder / 'last_checkpoint').unlink()
    for path in list(folder.glob('*.pth'))[: 0 if whole else 3]:
        truncated(path)
    run_in_processes(resume_in_two, str(folder))
    first, second = ((folder / f'rank{rank}.txt').read_text() for rank in (0, 1))
    assert first == second
    assert first == '6' if whole else 'no whole checkpoint' in first
