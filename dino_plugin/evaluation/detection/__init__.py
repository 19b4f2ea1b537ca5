"""Where objects are, as boxes: detectors of mmdetection on a frozen backbone."""
