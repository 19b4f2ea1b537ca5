"""The processes that load images, and the way of their batches to the training."""
