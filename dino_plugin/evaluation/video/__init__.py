"""Label propagation: object masks carried through video clips, and their scores."""
