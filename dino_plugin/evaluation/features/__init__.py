"""Features of images: computed, kept, and written for other programs."""
