"""Getting the bytes of a checkpoint and reading them: where it comes from, what damages it, whose loaders read it."""
