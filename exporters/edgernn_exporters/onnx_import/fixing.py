"""Fix inputs to constants, and dynamic axes to sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from edgernn.errors import UsageError
from edgernn_exporters.onnx_import.notes import Notes


def fix(
    model: onnx.ModelProto, fixes: Mapping[str, ArrayLike], notes: Notes
) -> dict[str, NDArray[Any]]:
    """Fix graph inputs and dynamic axes, in place.

    Args:
        model: Its fixed inputs become initializers; fixed axes get their size in all inputs and
            outputs.
        fixes: Value by the name of an input, or size by the name of an axis. A value is broadcast
            to the declared shape.
        notes: Receives a sentence for each.

    Returns:
        The values of fixed inputs, as the model took them.

    Raises:
        UsageError: There is no such name, or a value does not fit.
    """
    given = {value.name: value for value in model.graph.input}
    axes = dynamic_axes(model)
    for name in fixes:
        if name not in given and name not in axes:
            inputs = ", ".join(map(repr, given)) or "none"
            raise UsageError(
                f"--fix {name}: the model has no such input or axis; inputs are {inputs}, dynamic "
                f"axes {', '.join(map(repr, axes)) or 'none'}"
            )
    sizes = {name: _size(name, value) for name, value in fixes.items() if name not in given}
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    for name, size in sizes.items():
        notes.add(f"Axis {name!r} has size {size} everywhere.")
    constants = {name: _value(given[name], value) for name, value in fixes.items() if name in given}
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name in constants:  # a default in an old file
            del model.graph.initializer[place]
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        shown = array.reshape(-1)[0] if array.size == 1 else f"shape {list(array.shape)}"
        notes.add(f"Input {name!r} is a constant now: {shown}.")
    return constants


def dynamic_axes(model: onnx.ModelProto) -> dict[str, None]:
    """Return the names of dynamic axes of inputs and outputs, in order."""
    values = (*model.graph.input, *model.graph.output)
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    return dict.fromkeys(dim.dim_param for dim in dims if dim.dim_param)


def _size(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"--fix {name}={value}: {name!r} is an axis; give a size of 1 or more")
    return int(value)


def _value(spec: onnx.ValueInfoProto, value: Any) -> NDArray[Any]:
    what, kind = f"--fix {spec.name}={value}", spec.type.tensor_type
    if not spec.type.HasField("tensor_type") or kind.elem_type == onnx.TensorProto.STRING:
        raise UsageError(f"{what}: the input is no tensor of numbers, and cannot be fixed")
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError
        with np.errstate(all="ignore"):
            typed = array.astype(dtype)
    except (ValueError, TypeError, OverflowError):
        raise UsageError(f"{what}: give a number, or a list such as [1,2]") from None
    exact = dtype.kind not in "biu" or (
        np.array_equal(typed.astype(object), array.astype(object))
        and (array.dtype.kind == "b") <= (dtype.kind == "b")
    )
    if not exact or not np.isfinite(typed.astype(np.float64)).all():
        raise UsageError(f"{what}: the input is of type {dtype.name}, which does not hold that")
    if not kind.HasField("shape"):
        return typed
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    if len(dims) == typed.ndim:
        dims = [have if want is None else want
                for want, have in zip(dims, typed.shape, strict=True)]  # fmt: skip
    if any(size is None for size in dims):
        names = [dim.dim_param or "?" for dim in kind.shape.dim if not dim.HasField("dim_value")]
        raise UsageError(
            f"{what}: the size of axis {', '.join(names)} of the input is open; fix it, too, or "
            f"give the value in its full shape"
        )
    try:
        return np.broadcast_to(typed, [size for size in dims if size is not None]).copy()
    except ValueError:
        raise UsageError(f"{what}: the input has shape {dims}; that does not fit") from None
