"""Quantize an ONNX file: the verb, and the table of precisions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgernn.errors import ModelError, UsageError
from edgernn.files import replacing, sha256_of
from edgernn.metadata import Metadata
from edgernn.sessions import Session
from edgernn_exporters.onnx_files import read_model, save_model
from edgernn_exporters.quantization.dynamic import KeptFloat, quantize_dynamic
from edgernn_exporters.quantization.proof import prove

PRECISIONS = {"int8-dynamic": quantize_dynamic}


@dataclass(frozen=True)
class Quantized:
    """Say what a quantization wrote.

    Attributes:
        path: The ONNX file.
        metadata: The metadata in it.
        layers: Names of the nodes that were quantized.
        kept: Recurrent and linear nodes that stayed float, with the reason.
        source_bytes: Size of the float file.
        bytes: Size of the quantized file.
    """

    path: Path
    metadata: Metadata
    layers: tuple[str, ...]
    kept: tuple[KeptFloat, ...]
    source_bytes: int
    bytes: int


def quantize(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    precision: str = "int8-dynamic",
    load: Callable[[Path], Session] | None,
) -> Quantized:
    """Write a quantized version of a float ONNX file.

    Args:
        source: ONNX file in float32, with or without a state contract.
        path: File to write; it appears only when it has been loaded and run.
        precision: A key of `PRECISIONS`.
        load: Opens the new file to prove that it runs and, for a causal model, that chunks equal
            the whole sequence; None leaves that out.

    Raises:
        UsageError: There is no such precision, or both files are the same.
        ModelError: The file cannot be read, is quantized already, or holds nothing to quantize.
        AccuracyGateError: The quantized model does not run or depends on chunking.
        OutputError: The file cannot be written.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    model, metadata = read_model(source)
    if metadata.precision != "float32":
        raise ModelError(
            f"{source} has precision {metadata.precision} already; quantize the float32 file that "
            f"it was made from"
        )
    if Path(source).resolve() == Path(path).resolve():
        raise UsageError(f"{path} is the float32 file itself and would be lost; choose another -o")
    layers, kept = PRECISIONS[precision](model)
    if not layers:
        reasons = "; ".join(f"{item.node}: {item.reason}" for item in kept)
        missing = "it has no LSTM, GRU, RNN, Gemm or MatMul with constant weights"
        raise ModelError(f"{source}: nothing to quantize to {precision}: {reasons or missing}")
    source_bytes = Path(source).stat().st_size
    metadata = replace(metadata, precision=precision, parent=sha256_of(source), gate=None)
    metadata = replace(metadata, tools={**metadata.tools, "onnx": onnx.__version__})
    with replacing(path) as temporary:
        save_model(model, metadata, temporary)
        if load is not None:
            prove(load(temporary))
    return Quantized(
        path=Path(path),
        metadata=metadata,
        layers=tuple(layers),
        kept=tuple(kept),
        source_bytes=source_bytes,
        bytes=Path(path).stat().st_size,
    )
