"""How well the nearest images are the right ones: retrieval, and copies of images."""
