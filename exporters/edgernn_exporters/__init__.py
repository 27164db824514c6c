"""PyTorch to ONNX with a state contract, the export gate, quantization, inspection.

Only ``torch_*`` modules import PyTorch.
"""
