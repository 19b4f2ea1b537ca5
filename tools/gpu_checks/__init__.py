"""What ``tools/gpu_check.py`` runs: one module for each part, and the programme around them."""
