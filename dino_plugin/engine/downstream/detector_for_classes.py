"""A detector for the classes that a file of annotations names."""

from pathlib import Path
from typing import Any

from torch import nn

from dino_plugin.engine.downstream.width_from_backbone import width_from_backbone
from dino_plugin.evaluation.detection.annotations import class_names, read_annotations

CLASSES = 'classes'


def detector_for_classes(class_file: str, data_root: str = '', **model: Any) -> nn.Module:
    """Build a detector of mmdetection whose number of classes is that of a file of COCO's format.

    In a config, with the other arguments of `WidthFromBackbone`::

        model=dict(
            type='dino_plugin.DetectorForClasses',
            class_file='data/boxes/annotations/instances_train.json',
            model='DABDETR',
            backbone=dict(type='dino_plugin.TimmJoinedMaps', checkpoint='epoch_100.pth', frozen=True),
            bbox_head=dict(type='DABDETRHead', num_classes='classes', ...))

    Args:
        class_file: The file, which is read for its categories.
        data_root: Folder that its name begins in.
        **model: The text 'classes', anywhere in it, becomes their number; the rest is as for `WidthFromBackbone`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: As in `read_annotations` and `WidthFromBackbone`.
    """
    return width_from_backbone(**_filled(model, len(class_names(read_annotations(Path(data_root, class_file))))))


def _filled(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {key: _filled(entry, number) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(entry, number) for entry in value)
    return number if value == CLASSES else value
