"""Quantization: rewrite float models with integer weights, as plain ONNX."""

from edgernn_exporters.quantization.quantize import (
    PRECISIONS,
    KeptFloat,
    Quantized,
    quantize,
)

__all__ = ["PRECISIONS", "KeptFloat", "Quantized", "quantize"]
