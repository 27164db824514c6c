"""Quantization: rewrite float models with smaller weights, as plain ONNX."""

from edgernn_exporters.quantization.layers import KeptFloat
from edgernn_exporters.quantization.quantize import Quantized, quantize
from edgernn_exporters.quantization.rewrite import PRECISIONS

__all__ = ["PRECISIONS", "KeptFloat", "Quantized", "quantize"]
