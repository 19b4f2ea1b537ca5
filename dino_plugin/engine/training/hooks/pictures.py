"""Pictures during training: views, attention of each head, patch features as colours."""

import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from mmengine.dist import is_main_process
from torch import Tensor, nn
from torch.utils.data import Dataset

from dino_plugin.data.images.decoding import UndecodableImageError, read_image
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.images.user_files import expanded
from dino_plugin.data.views.resizing import resize
from dino_plugin.engine.training.hooks.periodic_evaluation import PeriodicHook
from dino_plugin.engine.training.model import unwrapped
from dino_plugin.evaluation.attention.images import attention_of_image
from dino_plugin.visualization.attention import heads_sheet
from dino_plugin.visualization.contact_sheet import views_of_sample, views_sheet
from dino_plugin.visualization.patch_grids import patch_grids
from dino_plugin.visualization.pca import pca_sheet, shared_colours

_SHOWN = 256  # rows of an image beside its colours


class PicturesHook(PeriodicHook):
    """Draw the same few images every few epochs and after the last, for each visualizer.

    - ``pictures_views``: what a step sees of some training images; drawn once, since training does not change it.
    - ``pictures_attention``: attention of the class token in each head of the last block; transformers only.
    - ``pictures_pca``: patch features as colours, see `patch_pca`. The colours are turned towards those of the drawing
      before, also after a resume, so that they do not flip.

    The first process draws, without gradients and without touching random numbers. What cannot be drawn is logged once
    for each reason, and training goes on. Names have no slash, with which mmengine's LocalVisBackend writes nothing.

    Args:
        images: An image or a folder of images. None: training images.
        number: Largest number of images, spread over all; 0: draw nothing.
        size: Shorter side of what the network sees, in pixels. None: twice that of the global views.
        interval: As in `PeriodicHook`.
        by_epoch: Likewise.
        source: Likewise.
        before_training: Likewise.

    Raises:
        ValueError: If `number` is less than 0 or `size` than 1, the folder has no image or one that cannot be read, and
            as in `PeriodicHook`.
        FileNotFoundError: If there is no such image or folder.
    """

    def __init__(
        self,
        images: str | None = None,
        number: int = 4,
        size: int | None = None,
        interval: int = 10,
        by_epoch: bool = True,
        source: str = 'teacher',
        before_training: bool = True,
    ) -> None:
        super().__init__(interval, by_epoch, source, before_training)
        if number < 0 or (size is not None and size < 1):
            raise ValueError(f'PicturesHook: number={number} must be at least 0, and size={size} at least 1.')
        self.paths = images
        self.number, self.size = number, size
        self.images: list[UInt8[np.ndarray, '_ _ 3']] = []
        self._views_drawn = False
        self._colours: list[Tensor] | None = None  # levels in uint8
        self._told: set[str] = set()

    def prepare(self, runner) -> None:
        """Read the images."""
        if not self.number or not is_main_process():
            return
        if self.paths is not None:
            path = expanded(self.paths, 'PicturesHook: images')
            paths = _spread(ImageDataset(data_root=path), self.number) if Path(path).is_dir() else [path]
            self.images = [read_image(path) for path in paths]
            return
        channels = self.backbone_of(runner).in_channels
        if channels != 3:
            self._tell(runner, f'pictures of views alone: the network takes {channels} channels, the others show RGB.')
            return
        for path in _spread(runner.train_dataloader.dataset, self.number):
            try:
                self.images.append(read_image(path))
            except (OSError, UndecodableImageError) as error:
                self._tell(runner, f'no picture of {path}: {error}. PicturesHook(images=...) takes others.')

    def look(self, runner, backbone: nn.Module, step: int) -> None:
        """Draw, and hand the pictures to each visualizer."""
        if not self.number or not is_main_process():
            return
        start, drawn = time.perf_counter(), []
        for name, draw in (('views', self._views), ('attention', self._attention), ('pca', self._pca)):
            try:
                with torch.no_grad():
                    picture = draw(runner, backbone)
                if picture is not None:
                    _send(runner.visualizer, f'pictures_{name}', picture, step)
                    drawn.append(name)
            except Exception as error:  # a picture is not worth a run of days
                self._tell(runner, f'no picture of {name}: {error}')
        if drawn:
            runner.logger.info(
                f'pictures of the {self.source} after {step} iterations: {", ".join(drawn)} '
                f'({time.perf_counter() - start:.1f} s)'
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the colours."""
        if self._colours is not None:
            checkpoint['pictures_colours'] = self._colours

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on with the colours of a resumed run."""
        self._colours = checkpoint.get('pictures_colours')

    def _views(self, runner, backbone: nn.Module) -> UInt8[np.ndarray, '_ _ 3'] | None:
        if self._views_drawn:
            return None
        self._views_drawn = True
        return views_sheet(runner.train_dataloader.dataset, self.number)

    def _attention(self, runner, backbone: nn.Module) -> UInt8[np.ndarray, '_ _ 3'] | None:
        preprocessor = unwrapped(runner.model).data_preprocessor
        maps = [
            attention_of_image(backbone, image, (-1,), self._size(runner), preprocessor)[0].class_maps()[0]
            for image in self.images
        ]
        return heads_sheet(self.images, [one.cpu().numpy() for one in maps]) if maps else None

    def _pca(self, runner, backbone: nn.Module) -> UInt8[np.ndarray, '_ _ 3'] | None:
        if not self.images:
            return None
        _, grids = patch_grids(backbone, self.images, self._size(runner), unwrapped(runner.model).data_preprocessor)
        shapes = [grid.shape[:2] for grid in grids]
        before = self._colours if [one.shape[:2] for one in self._colours or ()] == shapes else None
        colours = shared_colours(grids, None if before is None else [one / 255 for one in before])
        self._colours = [(255 * one).round().to(torch.uint8) for one in colours]
        shown = [resize(image, _SHOWN, max(1, _SHOWN * image.shape[1] // image.shape[0])) for image in self.images]
        return pca_sheet(shown, colours)

    def _size(self, runner) -> int:
        if self.size is None:
            self.size = 2 * len(views_of_sample(_seeded(runner.train_dataloader.dataset)[0, 0])[0])
        return self.size

    def _tell(self, runner, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            runner.logger.warning(text)


def _seeded(dataset: Dataset) -> SeededDataset:
    return dataset if isinstance(dataset, SeededDataset) else SeededDataset(dataset)


def _spread(dataset: Dataset, number: int) -> list[str]:
    """Files of a dataset, evenly spread over it."""
    dataset = _seeded(dataset)
    number = min(number, dataset.num_images)
    return [dataset.path_of(place * dataset.num_images // number) for place in range(number)]


def _send(visualizer, name: str, image: UInt8[np.ndarray, '_ _ 3'], step: int) -> None:
    """As `visualizer.add_image`, and by a name that each backend can store."""
    for backend in visualizer._vis_backends.values():
        # MLflow keeps files: their ending says the format, and without the step each would replace the one before.
        is_mlflow = type(backend).__name__ == 'MLflowVisBackend'
        backend.add_image(f'{name}_{step}.png' if is_mlflow else name, image, step)
