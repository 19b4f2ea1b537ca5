"""Text beside a frozen backbone: which caption belongs to an image, which class, which pixels."""
