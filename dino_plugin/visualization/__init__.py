"""Pictures of views, features and training."""
