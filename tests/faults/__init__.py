"""Faults that are done to the plugin on purpose, one file for each kind; `tests/fault_injection.py` runs them."""
