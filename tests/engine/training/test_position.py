"""A resumed run with another batch size or other processes: each image of the pass once, or a refusal in words."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from processes import run_in_processes
from test_checkpoints import config, train
from test_iter_loop import epochs, iterations
from test_training import train as train_recorded

from dino_plugin.commands.runner import Runner
from dino_plugin.data.images.mixed_sampler import MixedBatchSampler
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.engine.training.hooks.bounded_history import MAX_LENGTH
from dino_plugin.weights.safe_loading import load_checkpoint


class Ranks:
    """Samplers as they are on the ranks of one run."""

    def __init__(self, monkeypatch, make, number, batch):
        self.samplers, self.batch = [], batch
        for rank in range(number):
            monkeypatch.setattr('dino_plugin.data.images.sampler.get_dist_info', lambda rank=rank: (rank, number))
            self.samplers.append(make())

    def start_at(self, images):
        for sampler in self.samplers:
            sampler.start_at(images)

    def batches(self):
        """The keys of each batch of all ranks, in the order of positions."""
        ranks = [list(sampler) for sampler in self.samplers]
        for begin in range(0, len(ranks[0]), self.batch):
            yield [key for keys in zip(*(rank[begin : begin + self.batch] for rank in ranks)) for key in keys]


@pytest.mark.parametrize('num_images', [96, 97, 100])
@pytest.mark.parametrize(('before', 'after'), [((1, 8), (4, 2)), ((4, 2), (1, 8)), ((2, 4), (3, 5)), ((3, 4), (2, 7))])
@pytest.mark.parametrize('shuffle', [True, False])
def test_other_ranks_go_on_with_the_same_images_and_seeds(monkeypatch, num_images, before, after, shuffle):
    def make():
        return ResumableSampler(range(num_images), shuffle=shuffle, seed=4)

    first, second = (Ranks(monkeypatch, make, *numbers) for numbers in (before, after))
    whole = list(itertools.chain.from_iterable(first.batches()))[:num_images]
    for done in (0, 1, 5, num_images // math.prod(before)):
        images = done * math.prod(before)
        second.start_at(images)
        assert [sampler.num_left for sampler in second.samplers] == [
            math.ceil((num_images - images) / after[0])
        ] * after[0]
        rest = list(itertools.chain.from_iterable(second.batches()))
        assert rest[: num_images - images] == whole[images:]
        padding = rest[num_images - images :]
        assert len(padding) < after[0], 'only to fill the last round of ranks'
    assert list(itertools.chain.from_iterable(second.batches()))[:num_images] == whole, 'the next pass is a whole one'


class Pipelines:
    """Two pipelines over these images."""

    num_images = 90

    def __len__(self):
        return 180


@pytest.mark.parametrize(('before', 'after'), [((1, 8), (4, 2)), ((4, 2), (2, 4)), ((2, 4), (3, 5))])
def test_a_batch_keeps_its_pipeline_on_other_ranks_and_is_of_one_in_any_case(monkeypatch, before, after):
    def make(batch):
        return lambda: MixedBatchSampler(Pipelines(), (0.5, 0.5), batch, seed=3)

    first, second = (Ranks(monkeypatch, make(numbers[1]), *numbers) for numbers in (before, after))
    whole = list(first.batches())
    second.start_at(5 * math.prod(before))
    rest = list(second.batches())
    if math.prod(before) == math.prod(after):
        assert rest[:6] == whole[5:11]
    for batch in rest:
        assert len({index // 90 for index, _ in batch}) == 1
    images = [index % 90 for index, _ in itertools.chain.from_iterable(rest)][: 90 - 5 * math.prod(before)]
    assert images == [index % 90 for index, _ in itertools.chain.from_iterable(whole)][5 * math.prod(before) : 90]


def test_a_checkpoint_says_where_it_is_in_plain_numbers(tmp_path):
    made = epochs(tmp_path, train_cfg__max_epochs=2, default_hooks__checkpoint__interval=4)
    train(made)
    position = load_checkpoint(tmp_path / 'iter_8.pth')['meta']['position']
    assert position == dict(epoch=1, images=8, batch=4, length=6, num_images=25)


def test_with_another_batch_size_iterations_go_on_and_no_image_comes_twice_in_a_pass(tmp_path):
    """After 8 iterations of 4 images: 8 of the second pass are done, the other 17 make two batches of 8."""
    train_recorded(iterations(tmp_path, 9), stop_at=8)
    changes = dict(train_dataloader__batch_size=8, resume=True, load_from=str(tmp_path / 'iter_8.pth'))
    runner, rest = train_recorded(iterations(tmp_path / 'larger', 12, **changes))
    assert runner.iter == 12
    _, fresh = train_recorded(iterations(tmp_path / 'fresh', 8, train_dataloader__batch_size=8))
    assert all(torch.equal(a, b) for a, b in zip(rest.views, [*fresh.views[4:6], *fresh.views[6:8]], strict=True))


def test_a_resumed_run_with_a_smaller_batch_and_a_rest_of_a_pass_that_no_batch_divides(tmp_path):
    """15 of 25 images are done: 10 are left, two batches of 4."""
    train(iterations(tmp_path, 3, train_dataloader__batch_size=5))
    changes = dict(train_dataloader__batch_size=4, resume=True, load_from=str(tmp_path / 'iter_3.pth'))
    runner, rest = train_recorded(iterations(tmp_path / 'smaller', 7, **changes))
    assert (runner.iter, runner.epoch, runner.max_epochs) == (7, 2, 2)
    _, ones = train_recorded(iterations(tmp_path / 'ones', 50, train_dataloader__batch_size=1))
    views = torch.cat(ones.views, dim=1)
    expected = [views[:, 15:19], views[:, 19:23], views[:, 25:29], views[:, 29:33]]
    assert all(torch.equal(a, b) for a, b in zip(rest.views, expected, strict=True))


def test_epochs_of_other_iterations_are_refused_with_the_product_that_fits(tmp_path):
    train_recorded(epochs(tmp_path), stop_at=8)
    changes = dict(resume=True, load_from=str(tmp_path / 'iter_8.pth'), train_cfg__max_epochs=5)
    cure = 'product of batch_size and processes, 4, or count iterations: dino_plugin.ResumableIterLoop'
    with pytest.raises(
        ValueError, match=rf'epoch 2, of 6 iterations of 4 images.* has 3 iterations of 8 images.*{cure}'
    ):
        train(epochs(tmp_path / 'batch', train_dataloader__batch_size=8, **changes))
    with pytest.raises(ValueError, match=r'from 25 images; now an epoch has 6 iterations .* from 26 images'):
        train(epochs(tmp_path / 'images', train_dataloader__dataset__dataset__indices=26, **changes))


def test_at_the_end_of_an_epoch_images_may_be_added_as_long_as_its_iterations_stay(tmp_path):
    train(epochs(tmp_path, train_cfg__max_epochs=1, default_hooks__checkpoint__interval=6))
    more = dict(train_dataloader__dataset__dataset__indices=27, resume=True, load_from=str(tmp_path / 'iter_6.pth'))
    assert train(epochs(tmp_path / 'more', train_cfg__max_epochs=2, **more)).iter == 12


def test_other_images_begin_a_new_pass_where_iterations_are_counted_and_the_log_says_so(tmp_path, capsys):
    train_recorded(iterations(tmp_path, 9), stop_at=8)
    other = dict(train_dataloader__dataset__dataset__indices=40, resume=True, load_from=str(tmp_path / 'iter_8.pth'))
    runner, rest = train_recorded(iterations(tmp_path / 'other', 10, **other))
    assert (runner.iter, runner.epoch) == (10, 3)
    _, fresh = train_recorded(iterations(tmp_path / 'fresh', 22, train_dataloader__dataset__dataset__indices=40))
    assert all(torch.equal(a, b) for a, b in zip(rest.views, fresh.views[20:22], strict=True))
    said = capsys.readouterr()
    assert 'within a pass over 25 images, now there are 40: a new pass begins' in said.out + said.err


class Paths(Hook):
    """Which images each process sees."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(data_batch.global_views.double().sum(dim=(0, 2, 3, 4)).tolist())


def watched(rank, folder, batch_size, **changes):
    images = dict(train_dataloader__dataset__dataset__indices=24, train_dataloader__batch_size=batch_size)
    made = epochs(folder, train_cfg__max_epochs=2, **images, **changes)
    made.launcher = 'pytorch'
    made.model_wrapper_cfg = {'device_ids': None, 'broadcast_buffers': False}
    made.experiment_name = 'watched'
    runner, paths = Runner.from_cfg(made), Paths()
    runner.register_hook(paths)
    runner.train()
    Path(folder, f'rank{rank}.json').write_text(json.dumps(paths.seen))


def resumed(rank, folder, batch_size, checkpoint):
    watched(rank, folder, batch_size, resume=True, load_from=checkpoint)


def test_a_run_of_one_process_goes_on_in_two_with_the_same_images_in_the_same_views(tmp_path):
    """24 images, batches of 4 become batches of 2 in two processes."""
    run_in_processes(watched, str(tmp_path / 'one'), 4, processes=1)
    run_in_processes(resumed, str(tmp_path / 'two'), 2, str(tmp_path / 'one/iter_4.pth'))
    alone = json.loads((tmp_path / 'one/rank0.json').read_text())
    first, second = (json.loads((tmp_path / f'two/rank{rank}.json').read_text()) for rank in (0, 1))
    together = [[a[0], b[0], a[1], b[1]] for a, b in zip(first, second, strict=True)]
    assert together == alone[4:]


def test_logged_numbers_are_kept_as_far_as_logs_need_them(tmp_path):
    """mmengine keeps a million and copies them all at each iteration."""
    made = config(tmp_path, experiment_name='bounded')
    runner = Runner.from_cfg(made)
    long = HistoryBuffer(list(range(3 * MAX_LENGTH)), [1] * 3 * MAX_LENGTH)  # as a checkpoint of before has it
    runner.message_hub.log_scalars['train/loss'] = long
    runner.message_hub._resumed_keys['train/loss'] = True
    runner.train()
    histories = runner.message_hub.log_scalars
    assert len(histories) > 5
    assert {history.max_length for name, history in histories.items() if name.startswith('train/')} == {MAX_LENGTH}
    values, counts = histories['train/loss'].data
    assert len(values) == len(counts) == MAX_LENGTH
    assert values[-7] == 3 * MAX_LENGTH - 1, 'the last six are of this training'
    saved = load_checkpoint(tmp_path / 'iter_6.pth')['message_hub']['log_scalars']['train/loss']
    assert len(saved.data[0]) == MAX_LENGTH
