"""What the programs of tools/ do, for Python: `pretrain`, `load_backbone`, `extract_features`.

``import dino_plugin`` is enough: ``dino_plugin.pretrain(images='photos')``. Each is the implementation of its program.
"""

import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from dino_plugin.backbones.timm_backbone import TimmBackbone

PathOrName = str | PathLike[str]
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'


@dataclass(frozen=True)
class Run:
    """What `pretrain` left behind.

    Attributes:
        work_dir: Its folder.
        checkpoint: The last checkpoint; None if there is none on this machine, as with an ``out_dir`` in a store.
        scalars: Everything that ``LocalVisBackend`` logged: name -> iteration -> value, such as ``scalars['loss']``.
    """

    work_dir: Path
    checkpoint: Path | None
    scalars: dict[str, dict[int, float]]

    def load_backbone(self) -> nn.Module:
        """The trained network, see :func:`load_backbone`.

        Raises:
            ValueError: If there is no checkpoint.
        """
        if self.checkpoint is None:
            raise ValueError(f'The training in {self.work_dir} left no checkpoint here; name one: load_backbone(FILE).')
        return load_backbone(self.checkpoint)


class Features(NamedTuple):
    """Features of images.

    Attributes:
        features: A row for each image, or its patch grid; float32, on the CPU.
        names: Paths of the images.
    """

    features: Float[Tensor, 'images ...']
    names: list[str]


def pretrain(
    images: PathOrName | Sequence[PathOrName] | None = None,
    config: PathOrName = CUSTOM,
    *,
    backbone: str | None = None,
    init: PathOrName | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    work_dir: PathOrName | None = None,
    resume: bool = False,
    smoke: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> Run:
    """Train, as ``dino-plugin train`` does; in one process, on a GPU if there is one.

    Args:
        images: A folder, at any depth and without labels, or several. None: as the config says.
        config: A file, the name of one of ours, or 'auto': a recipe that fits the images and the machine.
        backbone: The network, by its name in timm.
        init: First weights of the backbone: a file, or 'pretrained' for timm's.
        epochs: Length of the training.
        batch_size: Images of a step.
        num_workers: Processes that read images.
        work_dir: Where everything goes; by default ``./work_dirs/<name of the config>``.
        resume: Go on from the newest whole checkpoint of ``work_dir``.
        smoke: Everything small, in minutes: to see that it runs.
        cfg_options: More values of the config by dotted names, which win:
            ``{'optim_wrapper.optimizer.weight_decay': 0.1}``.

    Raises:
        ValueError: If the config cannot be read, or an argument does not fit to it; the message names the cure.
    """
    from dino_plugin.commands.runner import Runner
    from dino_plugin.commands.training import training_config, training_runner
    from dino_plugin.commands.training_arguments import training_parser
    from dino_plugin.engine.training.latest_checkpoint import latest_checkpoint
    from dino_plugin.visualization.scalars import read_scalars, scalar_files

    folders = [images] if isinstance(images, str | PathLike) else images
    with _messages_as_errors():
        args = training_parser().parse_args([str(config)])
        args.images = None if folders is None else [str(folder) for folder in folders]
        args.backbone, args.init = backbone, None if init is None else str(init)
        args.epochs, args.batch_size, args.num_workers = epochs, batch_size, num_workers
        args.work_dir = None if work_dir is None else str(work_dir)
        args.resume, args.smoke, args.cfg_options = 'auto' if resume else None, smoke, dict(cfg_options or {})
        cfg = training_config(args)
    runner = training_runner(cfg)
    # before training; a runner of another program keeps its files in the working directory
    place = runner.checkpoint_place() if isinstance(runner, Runner) else (cfg.work_dir,)
    runner.train()
    try:
        checkpoint, _ = latest_checkpoint(cfg.work_dir, *place)
    except ValueError as error:  # the training succeeded, and what it measured is not lost
        checkpoint = None
        warnings.warn(f'pretrain: the training has ended, but its checkpoint is not found. {error}', stacklevel=2)
    scalars = read_scalars(cfg.work_dir) if scalar_files(cfg.work_dir) else {}
    return Run(Path(cfg.work_dir), checkpoint, scalars)


def load_backbone(checkpoint: PathOrName, **arguments: Any) -> nn.Module:
    """The network of a file as a model of timm, in evaluation mode, on the CPU.

    ``model(images)`` is the class token (the pooled vector of a convnet), ``model.forward_features(images)`` are the
    tokens. Images are normalised as in training: by ImageNet's mean and deviation, where nobody changed them;
    ``meta['normalisation']`` of a checkpoint and the JSON beside an export have both.

    Args:
        checkpoint: As in `TimmBackbone`: a training checkpoint (the teacher by default), an export, a released file,
            or an address.
        **arguments: What the file does not say, as in `TimmBackbone`: ``model_name='vit_small_patch16_224'``.

    Raises:
        ValueError: As `TimmBackbone`.
    """
    return _network(checkpoint, arguments).model


def extract_features(
    checkpoint: PathOrName,
    images: PathOrName,
    out: PathOrName | None = None,
    *,
    features: str = 'class',
    last_blocks: int = 1,
    resize: int = 256,
    crop: int = 224,
    batch_size: int = 64,
    num_workers: int = 2,
    precision: str = 'fp32',
    **arguments: Any,
) -> Features:
    """Features of all images below a folder, as ``dino-plugin features`` writes them; of those that can be read.

    Args:
        checkpoint: As in :func:`load_backbone`.
        images: A folder, at any depth, or a text list of paths.
        out: Keep them in this `.safetensors` or `.npy`, too; a call that was interrupted then goes on where it was.
        features: 'class', 'mean', 'class+mean' or 'patches'.
        last_blocks: Class tokens of this many last blocks.
        resize: Pixels of the shorter side.
        crop: Pixels of the square from the centre.
        batch_size: Images at a time.
        num_workers: Processes that read images.
        precision: Of the network: 'fp32', 'bf16' or 'fp16'.
        **arguments: As in :func:`load_backbone`.

    Raises:
        ValueError: If no image can be read, `out` has another suffix, or as `TimmBackbone`.
        OSError: If there are no images.
    """
    import numpy as np
    from safetensors.torch import load_file

    from dino_plugin.commands.features_of_images import write_features_of_images
    from dino_plugin.evaluation.features.names import read_names
    from dino_plugin.weights.normalisation import normalisation_of

    if out is not None and Path(out).suffix not in ('.npy', '.safetensors'):
        raise ValueError(f'extract_features: out={str(out)!r} must end in .npy or .safetensors.')
    network = _network(checkpoint, arguments).to('cuda' if torch.cuda.is_available() else 'cpu')
    with tempfile.TemporaryDirectory() as folder:
        written = write_features_of_images(
            network, images, out or f'{folder}/features.safetensors', features, last_blocks, resize, crop, batch_size,
            num_workers, precision, normalisation_of(checkpoint),
        )  # fmt: skip
        of_numpy = written.out.suffix == '.npy'
        rows = torch.from_numpy(np.load(written.out)) if of_numpy else load_file(written.out)['features']
        return Features(rows, read_names(written.out.with_suffix('.txt'), len(rows)))


def _network(checkpoint: PathOrName, arguments: Mapping[str, Any]) -> 'TimmBackbone':
    from dino_plugin.backbones.timm_backbone import TimmBackbone

    return TimmBackbone(**arguments, checkpoint=str(checkpoint)).eval()


@contextlib.contextmanager
def _messages_as_errors() -> Iterator[None]:
    """Where a program would end with a message, raise it; warnings go where they always go.

    Raises:
        ValueError: With the message.
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            yield
    except SystemExit:
        program = f'{Path(sys.argv[0]).name}: '
        raise ValueError(told.getvalue().strip().removeprefix(program)) from None
    sys.stderr.write(told.getvalue())
