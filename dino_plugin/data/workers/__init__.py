"""The worker processes that load images, and how their batches reach the training."""
