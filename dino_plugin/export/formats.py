"""Names of the export formats. This file does not import PyTorch, so that `--help` is quick."""

FORMATS = ('timm', 'huggingface', 'mmpretrain', 'original')  # tensors; the other program has the network
OWN = 'own'  # tensors of a network that is not from timm, under its own names
GRAPH_FORMATS = ('onnx', 'torch_export')  # the network itself
