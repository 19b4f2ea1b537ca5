"""Weights in and out.

Files that people name: `safe_loading` reads a file, `checkpoint` finds the backbone in it, `strict_loading` puts it
into a network, `teacher` takes heads along, `positions` has the rules for other image sizes. Behind them stand the
rooms `reading` (bytes), `networks` (what is in a file) and `key_tables` (names of other projects).
"""
