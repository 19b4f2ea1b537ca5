"""mmengine's runner for models of which each process holds a part."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine import runner as mmengine_runner
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn
from torch.distributed.checkpoint import FileSystemWriter, async_save

from dino_plugin.engine.distributed.folders import put_in_place, remove, then
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.distributed.sharded_checkpoint import in_parts, read_folder, split
from dino_plugin.registry import MODEL_WRAPPERS
from dino_plugin.weights.reading.sharded import REST, is_sharded
from dino_plugin.weights.safe_loading import load_checkpoint


class ShardedRunner(mmengine_runner.Runner):
    """mmengine's runner, which also trains a `FullyShard`; with other models it does what mmengine's does.

    A checkpoint of a sharded model is a folder under the usual name. Training goes on while it is written; it gets its
    name when it is whole. Such folders are read by any number of processes, by one without a group, too, and a sharded
    model also starts or resumes from a file, which each process then reads whole.
    """

    _writing: Future | None = None  # the checkpoint that is being written
    _group: Any = None  # of processes, for writing: its messages must not meet those of training

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """mmengine's; networks whose weights are not drawn yet are cut before they go to the device."""
        sharded = (model_wrapper_cfg or {}).get('type') in ('dino_plugin.FullyShard', FullyShard)
        if self.distributed and sharded and getattr(model, 'deferred', None) is not None:
            return MODEL_WRAPPERS.build({**model_wrapper_cfg, 'module': model})
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """mmengine's, unless the model is sharded: then it has its weights, and no process can send them all."""
        if not isinstance(self.model, FullyShard):
            super()._init_model_weights()

    def train(self) -> nn.Module:
        """mmengine's; it ends when the last checkpoint is written."""
        try:
            return super().train()
        finally:
            self.wait_for_checkpoint()

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """mmengine's, in all processes; of a sharded model it begins to write a folder."""
        if not isinstance(self.model, FullyShard):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        self.wait_for_checkpoint()
        folder = Path(out_dir, filename)
        partial = folder.with_name(f'{filename}.partial')
        if is_main_process():
            remove(partial)
        without_tensors = _WithoutTensors()
        self._hooks.insert(0, without_tensors)
        try:
            super().save_checkpoint(str(partial), REST, *args, **kwargs)
        finally:
            self._hooks.remove(without_tensors)
        barrier()
        state = dict(state_dict=self.model.module.state_dict())
        if kwargs.get('save_optimizer', True):
            state['optimizer'] = self.optim_wrapper.state_dict()
        tensors = {name: value.detach().clone() for name, value in split(state)[0].items()}  # training changes them
        self._group = self._group or dist.new_group(backend='gloo')
        self._writing = async_save(tensors, storage_writer=FileSystemWriter(partial), process_group=self._group)
        if is_main_process():
            self.when_saved(lambda: put_in_place(partial, folder))

    def when_saved(self, action: Callable[[], None]) -> None:
        """Do something when the checkpoint that is being written is whole; now, if none is. It waits for no process."""
        if self._writing is None:
            action()
        else:
            self._writing = then(self._writing, action)

    def wait_for_checkpoint(self) -> None:
        """Return when the last checkpoint is whole, and, in the first process, has its name.

        Raises:
            Exception: What went wrong while it was written, or in what was to be done then.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load_checkpoint(
        self, filename: str, map_location: Any = 'cpu', strict: bool = False, revise_keys: Any = ((r'^module.', ''),)
    ) -> dict[str, Any]:
        """mmengine's; a folder is read in parts, and a file is cut for a sharded model."""
        sharded = isinstance(self.model, FullyShard)
        model = self.model.module if sharded or hasattr(self.model, 'module') else self.model
        resuming = self._resume and isinstance(self.optim_wrapper, OptimWrapper)
        optimizer = self.optim_wrapper.optimizer if resuming else None
        if is_sharded(Path(filename)):
            checkpoint = read_folder(Path(filename), model, optimizer)
        elif sharded:
            checkpoint = in_parts(load_checkpoint(filename), model, optimizer)
        else:
            return super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        checkpoint = _load_checkpoint_to_model(model, checkpoint, strict, revise_keys=list(revise_keys))
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint


class _WithoutTensors(Hook):
    """Leaves in mmengine's checkpoint what is not sharded."""

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        rest = split(checkpoint)[1]
        checkpoint.clear()
        checkpoint.update(rest)
