"""Weights in and out: reading without running code, strict loading, key names of other projects."""
