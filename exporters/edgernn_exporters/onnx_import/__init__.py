"""Take in ONNX files that other programs wrote."""
