"""A backbone written for another program: tensors under its names, or the network itself."""
