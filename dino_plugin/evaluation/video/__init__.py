"""Object masks carried through video clips: the clips, the masks, their scores."""
