"""Keep a batch that gave something that is not finite, so that tools/replay.py can run it again."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from torch import Tensor

from dino_plugin.core.reduce import sum_over_ranks
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.training.model import unwrapped

FOLDER = 'not_finite'
USUAL_SCALE = 1024.0  # of fp16: gradients that overflow from here on are how the scaler finds its scale


class _Seen(NamedTuple):
    """One forward pass: what went in, what came out, and when."""

    views: ViewBatch
    losses: dict[str, Tensor]
    iteration: int
    progress: float


class CaptureHook(Hook):
    """Write the batches of a step whose losses or gradients are not finite to `work_dir/not_finite/iter_N.pth`.

    The file has the views as the networks saw them, the names of the images and their seeds, the losses, the weights
    and statistics of the model, its config, the precision, and the seed of drop path. It holds tensors and plain values
    only. ``dino-plugin replay FILE`` needs nothing else, unless there is a frozen teacher, whose file it reads.

    A skipped step moves nothing, so on a CPU the weights are those that the batch met. On a GPU the hook looks at a
    step when the next one has been given to the device, so that the device never waits for it. By then the next
    step may have moved the weights; the views are exact. Of several processes each writes the steps of its own.

    With fp16 the gradient scaler finds its scale by steps that overflow, which is no fault: such steps are written only
    if a loss itself is not finite, or the scale is already below 1,024.

    Args:
        most: Largest number of files of a process, each about as large as a checkpoint without the optimiser's state. 0
            writes none.

    Raises:
        ValueError: If `most` is negative.
    """

    priority = 'LOW'  # after the hook that moves the teacher, and restores statistics after a skipped step

    def __init__(self, most: int = 3) -> None:
        if most < 0:
            raise ValueError(f'CaptureHook: most={most} must be 0 or more.')
        self.most = most
        self._handle: Any = None
        self._views: ViewBatch | None = None
        self._step: list[_Seen] = []
        self._waiting: tuple[list[_Seen], Tensor, Any] | None = None  # of the step before, on a GPU

    def before_train(self, runner) -> None:
        """Begin to look at what the model is given."""
        distillation = getattr(unwrapped(runner.model), 'distillation', None)
        if isinstance(runner.model, FullyShard) and self.most:
            runner.logger.info('CaptureHook: no batch is kept, since no process has the whole network (FullyShard).')
        elif distillation is not None:  # a decoder or classifier has none
            self._handle = distillation.register_forward_pre_hook(self._note)

    def after_train(self, runner) -> None:
        """Look at the last step."""
        if self._handle is not None:
            self._handle.remove()
        self._look_back(runner)
        self._views, self._step = None, []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look at this step, or on a GPU at the one before."""
        if not self.most or self._views is None:
            return
        losses = {name: loss.detach() for name, loss in (outputs or {}).items() if name.startswith('loss_')}
        progress = unwrapped(runner.model).progress
        self._step.append(_Seen(self._views, losses, runner.iter, progress))
        self._views = None
        stepped = getattr(runner.optim_wrapper, 'stepped', False)
        if stepped is False:  # batches are being accumulated
            return
        step, self._step = self._step, []
        if stepped.device.type != 'cuda':
            if not stepped:
                self._write(runner, step)
            return
        self._look_back(runner)
        flag = stepped.to('cpu', non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        self._waiting = step, flag, done

    def _note(self, model, inputs: tuple) -> None:
        self._views = inputs[0]

    def _look_back(self, runner) -> None:
        if self._waiting is not None:
            step, flag, done = self._waiting
            self._waiting = None
            done.synchronize()
            if not flag:
                self._write(runner, step)

    def _write(self, runner, step: list[_Seen]) -> None:
        finite = all(bool(loss.isfinite().all()) for seen in step for loss in seen.losses.values())
        of_all = int(sum_over_ranks(torch.tensor(int(not finite), device=step[-1].views.global_views.device)))
        if finite and (of_all or get_rank() or _scale(runner.optim_wrapper) >= USUAL_SCALE):
            return  # another process has the batch that did it; without one, the first process keeps its own
        folder = Path(runner.work_dir) / FOLDER
        if len(list(folder.glob(f'iter_*_process_{get_rank()}.pth'))) >= self.most:
            return
        path = folder / f'iter_{step[-1].iteration + 1}_process_{get_rank()}.pth'
        try:
            _save_whole(_content(runner, step), path)
        except Exception as error:  # a full disk, a config that is no plain text: no reason to end a training
            runner.logger.warning(f'A batch that is not finite could not be written to {path}: {error}')
            return
        runner.logger.warning(f'The batch is in {path}. What went wrong in it: dino-plugin replay {path}')


def _content(runner, step: list[_Seen]) -> dict[str, Any]:
    model = unwrapped(runner.model)
    return dict(
        batches=[
            dict(
                views={name: part.cpu() for name, part in seen.views._asdict().items() if isinstance(part, Tensor)},
                losses={name: float(loss) for name, loss in seen.losses.items()},
                iteration=seen.iteration,
                progress=seen.progress,
                images=_images(runner, seen.iteration),
            )
            for seen in step
        ],
        state_dict={key: value.cpu() for key, value in model.state_dict().items()},
        model=runner.cfg.model.to_dict(),
        backbone=model.distillation.student.backbone.description,
        default_scope=runner.cfg.get('default_scope', 'mmengine'),
        precision=runner.optim_wrapper.precision,
        scale=_scale(runner.optim_wrapper),
        seed=runner.seed,
        rank=get_rank(),
    )


def _scale(optim_wrapper) -> float:
    """What the loss of the skipped step was multiplied by, 1 without a scaler, which has gone down since."""
    scaler = optim_wrapper.scaler
    return 1.0 if scaler is None else scaler.get_scale() / scaler.get_backoff_factor()


def _images(runner, iteration: int) -> list[tuple[str, int]]:
    """Name and seed of each image of the batch; nothing if the loop or the data set does not know."""
    loop = runner.train_loop
    dataset = loop.dataloader.dataset
    if not hasattr(loop, 'keys_of_batch') or not hasattr(dataset, 'path_of'):
        return []
    return [(dataset.path_of(index % dataset.num_images), seed) for index, seed in loop.keys_of_batch(iteration)]


def _save_whole(content: dict[str, Any], path: Path) -> None:
    """Without a copy in memory: these files may be large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.partial')
    try:
        with open(part, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
