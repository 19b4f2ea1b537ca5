"""DINO-family self-supervised learning for the OpenMMLab ecosystem."""

__version__ = '0.1.0'
