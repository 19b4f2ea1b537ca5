"""What heads attend to: attention against masks of objects, and how heads differ."""
