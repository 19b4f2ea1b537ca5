"""The page of a run: curves, pictures, films, warnings and settings, as one file or served while training goes on."""
