"""The files of a segmented clip, and whether they are there already."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.evaluation.video.clip import Clip
from dino_plugin.evaluation.video.scores import ClipScores, evaluate_clip
from dino_plugin.visualization.contact_sheet import save_image
from dino_plugin.visualization.overlay import VideoWriter, mask_sheet, overlay_mask

MASKS, OVERLAYS, FINISHED = 'davis', 'overlays', 'finished'
SHOWN_FRAMES = 6


class ClipResults:
    """The results of one clip below a folder.

    - ``davis/<clip>/<frame>.png``: the masks, indexed, in the layout of DAVIS. ``davis`` has no other files, so
      the official evaluator accepts it.
    - ``overlays/<clip>.mp4`` and ``overlays/<clip>.png``: the masks over the frames, as a film and on a sheet, where
      annotated masks are shown, too.
    - ``finished/<clip>.json``: the settings of the results, written last.

    Args:
        folder: A folder, such as the work directory.
        clip: The clip.
        settings: What the masks depend on besides the clip, such as a digest of the weights; for JSON.
    """

    def __init__(self, folder: str | Path, clip: Clip, settings: dict[str, Any]) -> None:
        self.clip = clip
        self.masks = [Path(folder) / MASKS / clip.name / f'{frame.stem}.png' for frame in clip.frames]
        self.film, self.sheet = (Path(folder) / OVERLAYS / f'{clip.name}{ending}' for ending in ('.mp4', '.png'))
        self.marker = Path(folder) / FINISHED / f'{clip.name}.json'
        self.identity = dict(settings=settings, clip=_digest(clip))

    def finished(self) -> bool:
        """Whether all masks are there, from the same clip with the same settings."""
        if not self.marker.is_file() or not all(path.is_file() for path in self.masks):
            return False
        return self.marker.read_text() == self._identity_text()

    def read(self) -> Iterator[UInt8[np.ndarray, 'rows columns']]:
        """The masks on disk."""
        return map(read_mask, self.masks)

    def write(self, masks: Iterable[UInt8[np.ndarray, 'rows columns']]) -> Iterator[UInt8[np.ndarray, 'rows columns']]:
        """Write each mask and yield it; write the sheet and the marker after the last."""
        self.marker.unlink(missing_ok=True)
        self.masks[0].parent.mkdir(parents=True, exist_ok=True)
        shown = np.linspace(0, len(self.masks) - 1, SHOWN_FRAMES).round()
        found, annotated = [], []
        with VideoWriter(self.film) as film:
            for number, (path, mask) in enumerate(zip(self.masks, masks, strict=True)):
                write_mask(mask, path)
                frame = self.clip.read_frame(number)
                overlay = overlay_mask(frame, mask)
                film.write(overlay)
                if number in shown:
                    found.append(overlay)
                    if self.clip.annotated:
                        annotated.append(overlay_mask(frame, self.clip.read_mask(number)))
                yield mask
        rows = [(f'{self.clip.name}: propagated', found)] + ([('annotated', annotated)] if annotated else [])
        save_image(mask_sheet(rows), self.sheet)
        self.marker.parent.mkdir(parents=True, exist_ok=True)
        self.marker.write_text(self._identity_text())

    def _identity_text(self) -> str:
        return json.dumps(self.identity, indent=2, sort_keys=True) + '\n'


def run_clip(results: ClipResults, masks: Iterable[UInt8[np.ndarray, 'rows columns']]) -> ClipScores | None:
    """Write the masks of a clip, or read finished ones, and score them; None for a clip that is not annotated.

    Args:
        results: Where the masks are written.
        masks: Masks of all frames, made one by one: nothing is computed for a finished clip.
    """
    masks = results.read() if results.finished() else results.write(masks)
    if results.clip.annotated:
        return evaluate_clip(results.clip, masks)
    for _ in masks:
        pass
    return None


def _digest(clip: Clip) -> str:
    """A digest of the first mask, its objects, and the names and sizes of the frames' files."""
    parts = [clip.read_mask(0).tobytes(), str(clip.objects).encode()]
    parts += [f'{path.name} {path.stat().st_size}'.encode() for path in clip.frames]
    return hashlib.sha256(b'\0'.join(parts)).hexdigest()
