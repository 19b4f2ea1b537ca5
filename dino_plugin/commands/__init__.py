"""What the programs in tools/ share: their arguments, the way to a runner, and errors told in one message."""
