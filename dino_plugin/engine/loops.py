"""Training loops."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop


class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epochs, but a checkpoint from the middle of one goes on there, bit for bit.

    The data order comes from :class:`~dino_plugin.data.sampler.ResumableSampler`, which starts an epoch anywhere
    without loading what came before. The random numbers of the main process (drop path) are a function of seed, rank
    and iteration, so none of them has to be saved, for any number of processes.
    """

    def __init__(self, runner, dataloader, max_epochs: int, val_begin: int = 1, val_interval: int = 1) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval)
        self._seed_when_built = runner.seed

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        self._continue_sampler(done)
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch) -> None:
        """One iteration, with its own random numbers."""
        entropy = np.random.SeedSequence((self.runner.seed, get_rank(), self._iter))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
        super().run_iter(idx, data_batch)

    def _continue_sampler(self, done: int) -> None:
        sampler = self.dataloader.sampler
        if self.runner.seed != self._seed_when_built and hasattr(sampler, 'seed'):
            sampler.seed = self.runner.seed  # a resumed run takes its seed from the checkpoint
        if done:
            if not hasattr(sampler, 'skip'):
                raise TypeError(
                    f'Cannot go on after {done} iterations of an epoch with {type(sampler).__name__}; use '
                    "sampler=dict(type='dino_plugin.ResumableSampler'), or resume from an epoch's end."
                )
            sampler.skip(done * self.dataloader.batch_size)
