"""Which networks a checkpoint holds: found by their names, recognised by their shapes, described by their writer."""
