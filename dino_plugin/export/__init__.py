"""Export of a backbone to other programs: tensors under their key names, or the network itself."""
