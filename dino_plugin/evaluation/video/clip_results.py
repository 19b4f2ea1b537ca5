"""What a segmented clip leaves on disk, and whether it is there already."""

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

    - ``davis/<clip>/<frame>.png``: the masks, indexed, in the layout of DAVIS; nothing else lies in ``davis``, so the
      official evaluator takes it.
    - ``overlays/<clip>.mp4`` and ``overlays/<clip>.png``: the masks over the frames, as a film and on a sheet, there
      with the annotation below where there is one.
    - ``finished/<clip>.json``: what they were made of, written last.

    Args:
        folder: Such as the work directory.
        clip: Whose results these are.
        settings: What the masks depend on besides the clip, such as a digest of the weights; JSON.
    """

    def __init__(self, folder: str | Path, clip: Clip, settings: dict[str, Any]) -> None:
        self.clip = clip
        self.masks = [Path(folder) / MASKS / clip.name / f'{frame.stem}.png' for frame in clip.frames]
        self.film, self.sheet = (Path(folder) / OVERLAYS / f'{clip.name}{ending}' for ending in ('.mp4', '.png'))
        self.marker = Path(folder) / FINISHED / f'{clip.name}.json'
        self.identity = dict(settings=settings, clip=_digest(clip))

    def finished(self) -> bool:
        """Whether all masks are there and were made of the same clip with the same settings."""
        if not self.marker.is_file() or not all(path.is_file() for path in self.masks):
            return False
        return self.marker.read_text() == self._identity_text()

    def read(self) -> Iterator[UInt8[np.ndarray, 'rows columns']]:
        """The masks that are there."""
        return map(read_mask, self.masks)

    def write(self, masks: Iterable[UInt8[np.ndarray, 'rows columns']]) -> Iterator[UInt8[np.ndarray, 'rows columns']]:
        """Passes the masks on and writes each as it comes; the sheet and the marker when all are through."""
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
    """Writes masks, or takes those that are finished, and scores them; None for a clip that is not annotated.

    Args:
        results: Where they go.
        masks: Of all frames, made as they are asked for: nothing is computed for a finished clip.
    """
    masks = results.read() if results.finished() else results.write(masks)
    if results.clip.annotated:
        return evaluate_clip(results.clip, masks)
    for _ in masks:
        pass
    return None


def _digest(clip: Clip) -> str:
    """Of the first mask with its meaning, and of the names and sizes of the frames' files."""
    parts = [clip.read_mask(0).tobytes(), str(clip.objects).encode()]
    parts += [f'{path.name} {path.stat().st_size}'.encode() for path in clip.frames]
    return hashlib.sha256(b'\0'.join(parts)).hexdigest()
