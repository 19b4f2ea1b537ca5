"""One image -> views, in the worker and on the device: crop boxes, colours, the split of the work."""
