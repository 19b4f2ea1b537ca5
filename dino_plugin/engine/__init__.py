"""mmengine: the runner around the methods."""
