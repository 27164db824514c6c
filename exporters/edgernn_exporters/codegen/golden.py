"""Golden vectors of a model: seeded inputs, and the outputs that another runtime gives for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn.c_project import CProject, CTensor
from edgernn.contract import ZEROS
from edgernn.errors import EdgernnError, ModelError
from edgernn.metadata import Metadata
from edgernn_exporters.codegen.integer_products import FORMS
from edgernn_exporters.quantization.functions import DOMAIN
from edgernn_exporters.quantization.functions.loops import lengths_of

Array = NDArray[Any]
Run = Callable[[dict[str, Array]], Mapping[str, Array]]
"""Runs a whole sequence from the first values: inputs by name to outputs by name, no states."""

_STEPS = 16
_MOST_ELEMENTS = 1 << 15
_FLOAT = ("float32", "float64")
_VIEWS = ("Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
_SAME_BITS = tuple(FORMS)
_MOVING = {*_VIEWS, "Concat", "Split", "Slice", "Gather", "Expand", "Shape", "Constant"}

# How far outputs may differ, as a share of the largest.
_DIGITS = 2e-6
"""Where all arithmetic is exact: what golden vectors are rounded to."""
_SUMMATION = 1e-4
"""Where sums have another order."""
_ROUNDING = 0.02
"""Where such a sum decides how a value is quantized."""


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs that the self-test compares with.

    Attributes:
        steps: Time steps, 1 for a model without a time axis.
        inputs: By name, in the graph's order of axes.
        outputs: Likewise.
        tolerances: Largest allowed error of each output.
        strays: Elements of each output that may be further off.
    """

    steps: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerances: Mapping[str, float]
    strays: Mapping[str, int]


def golden_vectors(
    model: onnx.ModelProto,
    metadata: Metadata,
    project: CProject,
    *,
    run: Run | None = None,
) -> Golden:
    """Draw inputs, seeded by the model's hash, and compute the outputs.

    Args:
        model: The model.
        metadata: Of the model: its states' first values and its precision.
        project: What the C takes and returns.
        run: Computes the outputs; None for ONNX's reference implementation.

    Raises:
        ModelError: The outputs cannot be computed, or have another form than the project says.
    """
    steps = _fixed_steps(model, project) or _steps_of(project)
    seed = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
    rng = np.random.default_rng(list(seed))
    inputs = {t.name: _drawn(t, model, steps, rng) for t in project.inputs}
    try:
        outputs = dict((run or _reference(model, metadata, project))(dict(inputs)))
    except EdgernnError:
        raise
    except Exception as error:  # whatever a runtime raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{project.name}: outputs for the self-test cannot be computed: {reason}; install "
            f"ONNX Runtime for it with: pip install 'edgernn[cpu]'"
        ) from None
    for tensor in project.outputs:
        _check(project, tensor, outputs, steps)
    found = {t.name: outputs[t.name] for t in project.outputs}
    share = _share(model, metadata)
    return Golden(
        steps,
        inputs,
        found,
        {name: _tolerance(array, share) for name, array in found.items()},
        {name: _strays(array, share) for name, array in found.items()},
    )


def sizes_of(tensor: CTensor, steps: int) -> tuple[int, ...]:
    """Return a tensor's shape in the graph for a number of time steps."""
    return tuple(steps if isinstance(size, str) else size for size in tensor.shape)


def _fixed_steps(model: onnx.ModelProto, project: CProject) -> int | None:
    """Return the size of a time axis that the model fixes: no other can be run elsewhere."""
    axes = {tensor.name: tensor.time_axis for tensor in project.inputs}
    for value in model.graph.input:
        axis = axes.get(value.name)
        if axis is not None and value.type.tensor_type.shape.dim[axis].dim_value:
            return int(value.type.tensor_type.shape.dim[axis].dim_value)
    return None


def _steps_of(project: CProject) -> int:
    if not project.has_steps:
        return 1
    if project.max_steps is not None:
        return project.max_steps if project.fixed_steps else min(_STEPS, project.max_steps)
    wanted = max(_STEPS, project.chunk + 5 if project.chunk <= 2 * _STEPS else 0)
    tensors = (*project.inputs, *project.outputs)
    each = sum(tensor.size for tensor in tensors if tensor.time_axis is not None)
    return max(4, min(wanted, _MOST_ELEMENTS // max(each, 1)))


def _drawn(tensor: CTensor, model: onnx.ModelProto, steps: int, rng: np.random.Generator) -> Array:
    shape = sizes_of(tensor, steps)
    if tensor.dtype in _FLOAT:
        return np.round(rng.standard_normal(shape), 2).astype(tensor.dtype)
    low, high = (0, 2) if tensor.dtype == "bool" else _integers(model, tensor.name, steps)
    return rng.integers(low, high, shape).astype(tensor.dtype)


def _integers(model: onnx.ModelProto, name: str, steps: int) -> tuple[int, int]:
    """Return the range of integers that an input may hold: rows of a table, lengths, or 0 and 1."""
    arrays = {t.name: t for t in model.graph.initializer}
    ranges, names = [], {name}
    for node in model.graph.node:
        if node.op_type in _VIEWS and node.input[0] in names:
            names.update(node.output)
        elif node.op_type.startswith("Embedding") and node.input[0] in names:
            ranges.append((0, arrays[node.input[1]].dims[0]))
        elif node.op_type == "Gather" and node.input[1] in names and node.input[0] in arrays:
            axes = [a.i for a in node.attribute if a.name == "axis"]
            ranges.append((0, arrays[node.input[0]].dims[axes[0] if axes else 0]))
        elif lengths_of(node) in names:
            ranges.append((1, steps + 1))
    return min(ranges, key=lambda pair: pair[1], default=(0, 2))


def _reference(model: onnx.ModelProto, metadata: Metadata, project: CProject) -> Run:
    contract = metadata.contract
    init = {state.input: state.init for state in contract.states} if contract else {}
    arrays = {t.name: t for t in model.graph.initializer}

    def first(name: str, dtype: str, shape: tuple[int, ...]) -> Array:
        if init[name] == ZEROS:
            return np.zeros(shape, dtype)
        return np.array(np.broadcast_to(numpy_helper.to_array(arrays[init[name]]), shape))

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        states = {s.name: first(s.name, s.dtype, s.shape) for s in project.states}
        names = [tensor.name for tensor in project.outputs]
        values = ReferenceEvaluator(model).run(names, {**inputs, **states})
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    return run


def _check(project: CProject, tensor: CTensor, outputs: Mapping[str, Array], steps: int) -> None:
    found, shape = outputs.get(tensor.name), sizes_of(tensor, steps)
    if found is None or found.shape != shape or found.dtype != tensor.dtype:
        given = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
        raise ModelError(
            f"{project.name}: output {tensor.name!r} was computed as {given} for the self-test, "
            f"where the generated code gives {tensor.dtype} {list(shape)}; export the model again"
        )


def _share(model: onnx.ModelProto, metadata: Metadata) -> float:
    """Return how far outputs may differ, as a share of the largest."""
    if metadata.precision in ("float32", "fp16"):
        return _SUMMATION
    integer = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    others = {node.op_type for node in model.graph.node if node.domain != DOMAIN}
    same_bits = all(name.endswith(_SAME_BITS) for name in integer) and others <= _MOVING
    return _DIGITS if same_bits else _ROUNDING


def _tolerance(array: Array, share: float) -> float:
    if array.dtype.name not in _FLOAT:
        return 0.0
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    largest = float(finite.max(initial=0.0))
    tolerance = share * largest + 1e-3 if share == _ROUNDING else share * max(1.0, largest)
    return float(f"{tolerance:.3g}")


def _strays(array: Array, share: float) -> int:
    """Allow integers that follow from quantized values to differ now and then."""
    return 0 if share < _ROUNDING or array.dtype.name in _FLOAT else array.size // 10
