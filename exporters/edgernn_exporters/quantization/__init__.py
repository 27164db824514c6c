"""Quantization: rewrite float models with integer weights, as plain ONNX."""

from edgernn_exporters.quantization.dynamic import KeptFloat
from edgernn_exporters.quantization.quantize import PRECISIONS, Quantized, quantize

__all__ = ["PRECISIONS", "KeptFloat", "Quantized", "quantize"]
