"""The methods, in plain PyTorch: no other framework is imported here."""
