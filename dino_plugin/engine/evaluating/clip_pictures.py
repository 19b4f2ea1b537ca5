"""A hook that draws what a probe of films sees: frames, where the query looks, and the likeliest classes."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from dino_plugin.data.collate import image_collate
from dino_plugin.visualization.attention import heat_overlay
from dino_plugin.visualization.contact_sheet import save_image
from dino_plugin.visualization.tiles import tile_sheet

HEIGHT = 168  # pixels of a frame in the picture


class ClipPicturesHook(Hook):
    """Draws films of a test: a strip of frames, the attention of the query below, true and likeliest classes above.

    `--show-dir` of `tools/test.py` sets `draw` and the folder.

    Args:
        draw: Whether to draw.
        interval: Draw each so many-th film.
        num_films: At most so many, spread over the data set.
        num_frames: Frames of a strip, spread over the clips.
    """

    priority = 'VERY_LOW'

    def __init__(self, draw: bool = False, interval: int = 1, num_films: int = 12, num_frames: int = 8) -> None:
        self.draw, self.interval, self.num_films, self.num_frames = draw, interval, num_films, num_frames

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """With the probe that the metric chose."""
        if not self.draw or not is_main_process():
            return
        folder = Path(runner.cfg.visualizer.get('save_dir') or runner.work_dir)
        model, dataset = getattr(runner.model, 'module', runner.model), runner.test_loop.dataloader.dataset
        chosen = (metrics['video/learning_rate'], metrics['video/weight_decay'])
        probe = model.probes[model.settings.index(chosen)]
        numbers = range(0, len(dataset), self.interval)
        for number in [numbers[round(place)] for place in _spread(self.num_films, len(numbers))]:
            info = dataset.get_data_info(number)
            sheet = self._sheet(model, probe, dataset.pipeline(info), dataset.metainfo['classes'])
            save_image(sheet, folder / f'{number:05}_{Path(info["film"]).stem}.png')
        print_log(f'Pictures of films are in {folder}', 'current')

    @torch.no_grad()
    def _sheet(
        self, model: nn.Module, probe: nn.Module, sample: Any, classes: tuple[str, ...]
    ) -> UInt8[np.ndarray, '_ _ 3']:
        views, label, _ = sample
        tokens = model.tokens(model.data_preprocessor(image_collate([sample]))['images'])[0]
        found = probe(tokens).softmax(dim=-1).mean(dim=0)
        middle = len(views) // 2
        heat = probe.attention(tokens[middle : middle + 1])[0].cpu().numpy()
        grid = _grid(model.backbone, views.shape[2:4])
        places = [round(place) for place in _spread(self.num_frames, len(heat))]
        frames = [views[middle, place].numpy() for place in places]
        frames = [cv2.resize(frame, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames]
        best = zip(*(part.tolist() for part in found.topk(min(3, len(found)))))
        names = dict(enumerate(classes))  # the model may have more
        text = ', '.join(f'{100 * share:.0f} % {names.get(index, index)}' for share, index in best)
        # One scale for all frames: a frame that the query does not look at stays dark.
        low, high = float(heat[places].min()), float(heat[places].max())
        heats = [
            heat_overlay(frame, heat[place].reshape(grid) - low, most=high - low)
            for frame, place in zip(frames, places)
        ]
        above = f'true: {classes[label]}; found: {text}'
        below = f'attention, {low * heat.size:.2f} to {high * heat.size:.2f} times the mean'
        return tile_sheet([_titled(above, frames), _titled(below, heats)], gap=4)


def _titled(title: str, pictures: list[UInt8[np.ndarray, '_ _ 3']]) -> list[tuple[str, UInt8[np.ndarray, '_ _ 3']]]:
    return [(title if number == 0 else '', picture) for number, picture in enumerate(pictures)]


def _grid(backbone: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    cells = backbone.patch_size or (32, 32)
    return tuple(-(-side // cell) for side, cell in zip(size, cells))


def _spread(wanted: int, available: int) -> list[float]:
    return np.linspace(0, available - 1, min(wanted, available)).tolist()
