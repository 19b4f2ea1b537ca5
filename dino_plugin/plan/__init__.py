"""What does a recipe need? Parameters, memory and operations of a config, computed from shapes alone."""
