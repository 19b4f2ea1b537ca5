"""Which class a film has: clips of frames, and an attentive probe on the tokens of a frozen backbone."""
