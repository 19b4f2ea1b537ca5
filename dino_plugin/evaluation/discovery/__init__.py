"""Objects without labels: LOST, TokenCut and MaskCut on patch features, their scores and pictures."""
