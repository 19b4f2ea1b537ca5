"""The package as OpenMMLab sees it: its configs, and mmengine and mmcv from one of two providers."""
