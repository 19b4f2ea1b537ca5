"""What derives from classes of mmdetection, which is imported when a config names it."""

from typing import Any


def box_dataset(**options: Any) -> Any:
    """In a config ``dino_plugin.BoxDataset``: `dino_plugin.evaluation.detection.coco_boxes.BoxDataset`."""
    from dino_plugin.evaluation.detection.coco_boxes import BoxDataset

    return BoxDataset(**options)


def box_metric(**options: Any) -> Any:
    """In a config ``dino_plugin.BoxMetric``: `dino_plugin.evaluation.detection.coco_boxes.BoxMetric`."""
    from dino_plugin.evaluation.detection.coco_boxes import BoxMetric

    return BoxMetric(**options)


def box_bias_detr(**options: Any) -> Any:
    """In a config ``dino_plugin.BoxBiasDETR``: `dino_plugin.evaluation.detection.box_bias_detr.BoxBiasDETR`."""
    from dino_plugin.evaluation.detection.box_bias_detr import BoxBiasDETR

    return BoxBiasDETR(**options)
