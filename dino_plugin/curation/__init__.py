"""Choosing images for training from a large collection: near-duplicates out, rare things in."""
