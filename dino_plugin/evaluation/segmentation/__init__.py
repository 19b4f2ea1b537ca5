"""Segmentation by mmsegmentation: a check of the files of a data set."""
