"""Connections to OpenMMLab: our configs, and mmengine and mmcv from one of two providers."""
