"""Names of the export formats. This file does not import PyTorch, so that `--help` is quick."""

FORMATS = ('timm', 'huggingface', 'mmpretrain', 'original')  # tensors; the other program has the network
GRAPH_FORMATS = ('onnx', 'torch_export')  # the network itself
