"""Training loops that resume in the middle of an epoch."""

import copy
import logging
import math
from itertools import islice

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from dino_plugin.data.workers.dataloaders import prepare_workers, without_unused_options
from dino_plugin.engine.training.auto_scale_lr import as_linear_rule
from dino_plugin.engine.training.hooks.bounded_history import BoundedHistoryHook
from dino_plugin.engine.training.position import Position, PositionHook


def iteration_seed(run_seed: int, rank: int, iteration: int) -> int:
    """Seed of the random numbers that the networks draw in an iteration (drop path)."""
    return int(np.random.SeedSequence((run_seed, rank, iteration)).generate_state(1, np.uint64)[0])


class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, which also resumes in the middle of an epoch, bit for bit.

    :class:`~dino_plugin.data.images.sampler.ResumableSampler` gives the order of the data; it can start anywhere in an
    epoch and loads nothing before that. The random numbers of the main process (drop path) are a function of seed, rank
    and iteration, so they need not be saved, for any number of processes.

    A checkpoint knows how many images of its epoch are done. So a run may go on with other processes, as long as one
    iteration of all of them has as many images: it sees the same images, each view as it would have been. Drop path
    draws other numbers then.

    ``auto_scale_lr`` may have a ``rule``, see :func:`as_linear_rule`.

    Raises:
        ValueError: If no batch can be filled, the sampler counts in batches of another size, the rule of
            ``auto_scale_lr`` is unknown, or, when it runs, a checkpoint counts iterations that do not fit its epoch.
    """

    saved_position: Position | None = None  # of the checkpoint that was loaded

    def __init__(self, runner, dataloader, max_epochs: int, val_begin: int = 1, val_interval: int = 1) -> None:
        super().__init__(runner, without_unused_options(dataloader), max_epochs, val_begin, val_interval)
        _check_batches(self.dataloader)
        prepare_workers(self.dataloader)
        runner.auto_scale_lr = as_linear_rule(getattr(runner, 'auto_scale_lr', None), self.dataloader.batch_size)
        self._seed_when_built = runner.seed
        self._begin_pass(0)
        runner.register_hook(PositionHook(self))
        if not any(isinstance(hook, BoundedHistoryHook) for hook in runner.hooks):
            runner.register_hook(BoundedHistoryHook())

    def run(self) -> torch.nn.Module:
        """Train, from the beginning or from where a checkpoint ends."""
        images = self._images_done() if self._iter else 0
        self._begin_pass(images)
        return super().run()

    def run_epoch(self) -> None:
        """Train for one epoch, or for the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._continue_sampler()
        left = min(self._left, max(0, self.max_iters - self._iter))
        for index, batch in enumerate(islice(self.dataloader, left), start=len(self.dataloader) - self._left):
            self.run_iter(index, batch)
            if self.stop_training:  # a pass may be millions of images
                break
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._begin_pass(0)

    def run_iter(self, idx: int, data_batch) -> None:
        """Train for one iteration, with its own random numbers."""
        torch.manual_seed(iteration_seed(self.runner.seed, get_rank(), self._iter))
        super().run_iter(idx, data_batch)

    def keys_of_batch(self, iteration: int) -> list[tuple[int, int]]:
        """Index and seed of each image that this process saw in an iteration of this pass; nothing for others."""
        sampler = copy.copy(self.dataloader.sampler)
        if iteration < self._pass_begin or not hasattr(sampler, 'start_at'):
            return []
        sampler.start_at(self._images + (iteration - self._pass_begin) * self._batch)
        return list(islice(sampler, self.dataloader.batch_size))

    def position_after(self, epoch: int, iterations: int) -> Position:
        """Where training is after this number of iterations; mmengine's ``epoch`` counts a pass that ends now."""
        done = iterations - self._pass_begin
        images = min(self._images + done * self._batch, len(self.dataloader.sampler) * get_world_size())
        if epoch > self._epoch and done >= self._left:
            images = 0
        else:
            epoch = self._epoch
        return Position(epoch, images, self._batch, len(self.dataloader), len(self.dataloader.dataset))

    @property
    def _batch(self) -> int:
        """Images of one iteration, in all processes together."""
        return (self.dataloader.batch_size or 1) * get_world_size()  # None with a batch_sampler

    def _begin_pass(self, images: int) -> None:
        """From here on a pass counts, of which some images are done."""
        self._images, self._pass_begin = images, self._iter
        self._left = max(0, len(self.dataloader) - images // self._batch)
        if images % self._batch and hasattr(self.dataloader.sampler, 'start_at'):
            self.dataloader.sampler.start_at(images)
            whole, rest = divmod(self.dataloader.sampler.num_left, self.dataloader.batch_size)
            self._left = whole + bool(rest and not self.dataloader.drop_last)

    def _images_done(self) -> int:
        """Images of this epoch that a resumed run has seen.

        Raises:
            ValueError: If the epochs of this run have other iterations, or other images.
        """
        done, length, saved = self._iter - self._epoch * len(self.dataloader), len(self.dataloader), self.saved_position
        if saved is not None:
            now = self.position_after(self._epoch, self._iter)
            within = 0 < done < length
            same_images = saved.num_images == now.num_images
            if (saved.batch, saved.length) != (now.batch, now.length) or (within and not same_images):
                raise ValueError(_other_epochs(saved, now))
        if not 0 <= done <= length:
            raise ValueError(
                f'{self._iter} iterations do not end in epoch {self._epoch + 1} of {length} iterations '
                'each: the checkpoint is of a run with another batch size, number of processes or images. Resume with '
                'the same numbers, or use dino_plugin.ResumableIterLoop.'
            )
        return min(done * self._batch, len(self.dataloader.sampler) * get_world_size())  # the last batch may be smaller

    def _continue_sampler(self) -> None:
        sampler = self.dataloader.sampler
        if self.runner.seed != self._seed_when_built and hasattr(sampler, 'seed'):
            sampler.seed = self.runner.seed  # a resumed run takes its seed from the checkpoint
        if hasattr(sampler, 'start_at'):
            sampler.start_at(self._images)
        elif not self._images or not self._left:
            return
        elif hasattr(sampler, 'skip'):
            sampler.skip(self._images // get_world_size())
        else:
            raise TypeError(
                f'Cannot go on after {self._images} images of an epoch with {type(sampler).__name__}; use '
                "sampler=dict(type='dino_plugin.ResumableSampler'), or resume from an epoch's end."
            )


class ResumableIterLoop(ResumableEpochLoop):
    """A `ResumableEpochLoop` that counts iterations; it may stop in the middle of a pass over the data.

    DINOv2 and DINOv3 count iterations, whatever the size of the data. For hooks an epoch is one pass, the last one
    included. A run that is resumed with another batch size or number of processes keeps its number of iterations, and
    sees the rest of its pass: no image twice. With other images it begins a new pass.

    Args:
        runner: Filled in by mmengine.
        dataloader: Filled in by mmengine.
        max_iters: Iterations of the whole training.

    Raises:
        ValueError: If ``max_iters`` is not a positive whole number; and as in the epoch loop.
    """

    _epoch: int  # mmengine's

    def __init__(self, runner, dataloader, max_iters: int | float) -> None:
        if max_iters < 1 or max_iters != int(max_iters):
            raise ValueError(
                f'ResumableIterLoop: max_iters={max_iters} must be a whole number of iterations, 1 or more.'
            )
        super().__init__(runner, dataloader, max_epochs=1)
        self._max_iters = int(max_iters)
        self._max_epochs = math.ceil(self._max_iters / len(self.dataloader))

    def _images_done(self) -> int:
        """Images of this pass that a resumed run has seen; it may be another pass than mmengine's epoch says."""
        length, saved = len(self.dataloader), self.saved_position
        if saved is None:  # of an earlier version, or another loop
            if not 0 <= self._iter - self._epoch * length <= length:
                self._epoch = self._iter // length
            return super()._images_done()
        self._epoch, images = saved.epoch, saved.images
        now_images = len(self.dataloader.dataset)
        if images and saved.num_images != now_images:
            print_log(
                f'The checkpoint was saved within a pass over {saved.num_images} images, now there are {now_images}: a '
                'new pass begins.',
                'current',
                logging.WARNING,
            )
            self._epoch, images = self._epoch + 1, 0
        self._begin_pass(images)
        self._max_epochs = self._epoch + 1 + math.ceil(max(0, self._max_iters - self._iter - self._left) / length)
        return images


def _other_epochs(saved: Position, now: Position) -> str:
    def told(position: Position) -> str:
        each = f'{position.length} iterations of {position.batch} images'
        return f'{each} in all processes, from {position.num_images} images'

    return (
        f'The checkpoint was saved in epoch {saved.epoch + 1}, of {told(saved)}; now an epoch has {told(now)}. '
        'Schedules count these iterations. Resume with the same images and the same product of batch_size and '
        f'processes, {saved.batch}, or count iterations: dino_plugin.ResumableIterLoop.'
    )


def _check_batches(dataloader: DataLoader) -> None:
    if len(dataloader) == 0:
        raise ValueError(
            f'The {len(dataloader.sampler)} images of a process fill no batch of {dataloader.batch_size}, and '
            'drop_last=True drops the rest: use a smaller batch_size, or more images.'
        )
    counted = getattr(dataloader.sampler, 'batch_size', dataloader.batch_size)
    if counted != dataloader.batch_size:
        raise ValueError(
            f'{type(dataloader.sampler).__name__} has batch_size={counted}, the dataloader '
            f'{dataloader.batch_size}: the sampler decides by batch, so write the same number in both.'
        )
