"""A training that is asked to stop saves a checkpoint first: SIGTERM, SIGUSR1, Ctrl-C."""

import os
import signal
import sys
import threading
import time
from types import FrameType

import torch
from mmengine.dist import barrier, get_rank
from mmengine.hooks import Hook

from dino_plugin.core.reduce import max_over_ranks, num_ranks
from dino_plugin.engine.training.hooks.checkpoint import between_steps, checkpoint_hook_of

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again later
_SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1', 'SIGINT') if hasattr(signal, name))


class TrainingStopped(SystemExit):
    """The program ends with status 75, because a signal asked for it; a checkpoint was saved.

    Args:
        number: The signal.
        iterations: How many are in the checkpoint.
        path: The checkpoint.
    """

    def __init__(self, number: int, iterations: int, path: str) -> None:
        super().__init__(STOPPED)
        self.reason = f'{signal.Signals(number).name} stopped training after iteration {iterations:,}, saved in {path}'


class StopSignals:
    """While this context lasts, the first signal is only noted; Ctrl-C a second or more later stops at once.

    torchrun hands a Ctrl-C on to processes that have it already, hence the second. Other threads than the main one
    cannot handle signals; there nothing changes.

    Launchers send SIGTERM to workers that load images, too, which the next steps still need. So a worker that is forked
    in this context ends by a SIGTERM of its parent only, or with it.

    Attributes:
        number: The first signal that came, 0 before.
    """

    number = 0
    _lasts = False

    def __enter__(self) -> 'StopSignals':
        self._process, self._came = os.getpid(), 0.0
        main = threading.current_thread() is threading.main_thread()
        StopSignals._lasts = main
        self._before = {number: signal.signal(number, self._note) for number in (_SIGNALS if main else ())}
        return self

    def __exit__(self, *_: object) -> None:
        StopSignals._lasts = False
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker, which the main process ends
            return
        if self.number:
            if number == signal.SIGINT and time.monotonic() - self._came >= 1:
                raise KeyboardInterrupt
            return
        self.number, self._came = number, time.monotonic()
        if get_rank() == 0:  # not by print or a logger, which a signal may have interrupted
            name = signal.Signals(number).name
            os.write(sys.__stderr__.fileno(), f'\n{name}: saving after the next step. Ctrl-C stops at once.\n'.encode())


def _protect_worker() -> None:
    if StopSignals._lasts:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_the_parent, daemon=True).start()


def _end_by_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


if hasattr(os, 'register_at_fork') and hasattr(signal, 'sigwaitinfo'):  # not on Windows, not on macOS
    os.register_at_fork(after_in_child=_protect_worker)


class StopHook(Hook):
    """Save a checkpoint and end the program after the next step of the optimiser, once a signal came.

    All processes stop after the same iteration: about once a second, or each iteration where one takes longer, they
    take the maximum of two numbers, the signal and the time of an iteration. So a signal to one of them is enough.

    Args:
        signals: What notes the signals.
        seconds: Time between two questions to the other processes.

    Raises:
        TrainingStopped: When the checkpoint is saved.
    """

    def __init__(self, signals: StopSignals, seconds: float = 1.0) -> None:
        self.signals = signals
        self.seconds = seconds

    def before_train(self, runner) -> None:
        """Begin to count."""
        self._asked_at, self._asked, self._next = time.monotonic(), runner.iter, runner.iter + 1

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop if any process was asked to."""
        if not between_steps(runner):
            return
        number = self.signals.number if num_ranks() == 1 else self._of_all_processes(runner)
        if number:
            path = checkpoint_hook_of(runner).save_now(runner, runner.iter + 1)
            barrier()  # the launcher kills the others when the first one ends
            raise TrainingStopped(number, runner.iter + 1, path)

    def _of_all_processes(self, runner) -> int:
        done = runner.iter + 1
        if done < self._next:
            return 0
        now = time.monotonic()
        own = [float(self.signals.number), (now - self._asked_at) / (done - self._asked)]
        number, of_an_iteration = max_over_ranks(torch.tensor(own, device=_device(runner))).tolist()
        self._asked_at, self._asked = now, done
        self._next = done + max(1, int(self.seconds / of_an_iteration))
        return int(number)


def _device(runner) -> torch.device:
    return next(runner.model.parameters()).device
