"""Lightly and this package, both ways."""
