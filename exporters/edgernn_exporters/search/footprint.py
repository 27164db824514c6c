"""What a model file takes on a device: flash for its constants, RAM for state and scratch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from edgernn.errors import ModelError
from edgernn_exporters.codegen import emit
from edgernn_exporters.onnx_files import read_model

_BITS: dict[int, int] = {
    TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT8: 8, TensorProto.UINT8: 8,
    TensorProto.BOOL: 8, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.INT16: 16,
    TensorProto.UINT16: 16, TensorProto.INT64: 64, TensorProto.UINT64: 64, TensorProto.DOUBLE: 64,
}  # fmt: skip


@dataclass(frozen=True)
class Footprint:
    """Hold sizes; see `candidates.Measured` for the fields."""

    weight_bytes: int
    flash_bytes: int
    ram_bytes: int | None
    note: str


def footprint(path: Path, target: str) -> Footprint:
    """Return what a model takes as generated C, without its code and without the stack.

    A model that has no C form takes the constants of its ONNX file, and a note says so.

    Args:
        path: ONNX file.
        target: What the weights are laid out for, a key of `codegen.layouts.LAYOUTS`.
    """
    model, _ = read_model(path)
    weights = weight_bytes(model)
    try:
        project = emit(path, target=target).project
    except ModelError as error:
        words = str(error).splitlines()[0].removeprefix(f"{path}: ")
        note = f"not compiled to C ({words}); flash is the constants in the ONNX file"
        return Footprint(weights, weights, None, note)
    return Footprint(weights, project.weight_bytes, project.state_bytes + project.scratch_bytes, "")


def weight_bytes(model: onnx.ModelProto) -> int:
    """Add up a model's constants, two of 4 bits to a byte."""
    return sum(tensor_bytes(tensor) for tensor in model.graph.initializer)


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of one constant."""
    bits: int = math.prod(tensor.dims) * _BITS.get(tensor.data_type, 32)
    return (bits + 7) // 8
