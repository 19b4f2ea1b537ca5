"""Images with masks or boxes of their objects."""
