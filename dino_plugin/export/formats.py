"""The names of the formats that a backbone is exported in; light, so that `--help` need not wait for PyTorch."""

FORMATS = ('timm', 'huggingface', 'mmpretrain', 'original')  # tensors, for a program that has the network
GRAPH_FORMATS = ('onnx', 'torch_export')  # the network itself
