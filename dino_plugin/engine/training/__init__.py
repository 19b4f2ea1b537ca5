"""The model, its optimiser, loops and hooks."""
