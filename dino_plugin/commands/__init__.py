"""Shared code of the programs in tools/: arguments, the runner, errors in one message."""
