"""timm, behind one small interface."""
