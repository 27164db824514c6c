"""PyTorch modules to ONNX: the only part of the exporters that imports PyTorch."""
