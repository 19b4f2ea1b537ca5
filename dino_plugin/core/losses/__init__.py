"""One idea per file: its equation as a function, then the module that feeds it."""
