"""Key names and tensors of other projects, and their translation to those of timm and back."""
