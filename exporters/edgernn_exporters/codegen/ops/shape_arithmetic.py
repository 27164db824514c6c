"""Arithmetic on sizes, folded at compile time with the number of time steps as a symbol.

Graphs work out shapes as data: Shape, Gather, Mul, Concat, Reshape. Where a size depends on the
time steps of a call, it is carried as ``factor * t + offset`` (`dims.Steps`) instead of a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgernn_exporters.codegen import dims
from edgernn_exporters.codegen.dims import Dim, Shape, Steps, at_least, count
from edgernn_exporters.codegen.expressions import label
from edgernn_exporters.codegen.loops import literal, loops
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import C_TYPES, Constant, Lazy, Symbolic

Numbers = NDArray[np.object_]
"""Array of `Dim`."""


def shape_of(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Shape, or a part of it."""
    attributes = attributes_of(node)
    sizes = lowering.shape(node.input[0])
    _define(lowering, node, _numbers(sizes[attributes.get("start", 0) : attributes.get("end")]))


def size_of(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Size: the number of elements."""
    _define(lowering, node, _numbers(count(lowering.shape(node.input[0]))))


def constant_of_shape(lowering: Lowering, node: onnx.NodeProto) -> None:
    """ConstantOfShape: one number for all elements, which takes no memory."""
    shape = tuple(lowering.integers(node.input[0], "shape"))
    given = attributes_of(node).get("value")
    array = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    number = Constant(array.reshape(()))
    if number.dtype not in C_TYPES:
        raise NotLoweredError(f"it has values of type {number.dtype}")
    code = literal(array.reshape(-1)[0], number.dtype)
    lowering.define(node.output[0], Lazy(code, (), checked(shape), number.dtype, (label(node),)))


def number_range(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Range of integers that ends at a number of time steps."""
    ends = [lowering.integers(name, "limits") for name in node.input]
    dtype = lowering.value(node.input[0]).dtype
    (start,), (limit,), (delta,) = ends
    if not isinstance(delta, int) or delta == 0 or dtype not in ("int64", "int32"):
        raise NotLoweredError("its numbers are not integers in known steps")
    size = size_in_steps(start, limit, delta)
    target = lowering.destination(node.output[0], (size,), dtype)
    kind = C_TYPES[dtype]
    step = "" if delta == 1 else f" * {delta}"
    body = f"{target.c}[i0] = ({kind})({dims.signed(start)} + (int64_t)i0{step});"
    lowering.emit(f"{lowering.comment(node)}\n{loops([size], body)}", writes=[target])
    lowering.define(node.output[0], target)


def size_in_steps(start: Dim, end: Dim, step: int) -> Dim:
    """Return how many numbers lie in ``start, start + step …`` before ``end``; at least 0."""
    gap = dims.subtract(end, start) if step > 0 else dims.subtract(start, end)
    width = abs(step)
    if isinstance(gap, int):
        return max(0, -(-gap // width))
    return dims.maximum(0, gap if width == 1 else dims.divide(dims.add(gap, width - 1), width))


def checked(shape: Shape) -> Shape:
    """Return a shape whose sizes may be allocated.

    Raises:
        NotLoweredError: A size is negative, or may be for few time steps.
    """
    for size in shape:
        if at_least(size, 0) is not True:
            raise NotLoweredError(f"its size {size} may be negative", timed=True)
    return shape


def fold(lowering: Lowering, node: onnx.NodeProto) -> bool:
    """Compute a node on sizes; False if its inputs are not all known sizes, or it is another."""
    values = [lowering.value(name) for name in node.input if name]
    if not any(isinstance(value, Symbolic) for value in values):
        return False
    known = [_array(value) for value in values if isinstance(value, Constant | Symbolic)]
    function = FOLDS.get(node.op_type)
    if function is None or len(known) != len(node.input) or not node.input:
        return False
    if any(value.dtype not in ("int64", "int32", "bool") for value in values):
        return False
    if node.op_type in _STRUCTURE and any(isinstance(item, Symbolic) for item in values[1:]):
        return False
    try:
        results = function(known, _Attributes(lowering, node))
    except (IndexError, ValueError) as error:
        raise NotLoweredError(f"its sizes do not fit: {error}") from None
    if results is None:
        return False
    dtype = values[1 if node.op_type == "Where" else 0].dtype
    for name, result in zip(node.output, results, strict=False):
        _define(lowering, node, result, name, dtype)
    return True


class _Attributes:
    """Attributes of a node, and what else a fold must know."""

    def __init__(self, lowering: Lowering, node: onnx.NodeProto) -> None:
        self.of = attributes_of(node)
        self.opset = lowering.opset
        self.outputs = len(node.output)

    def axes(self, arrays: Sequence[Numbers]) -> list[int] | None:
        """Return axes from the attribute, or from the second input."""
        if "axes" in self.of:
            return [int(axis) for axis in self.of["axes"]]
        return _plain(arrays[1]) if len(arrays) > 1 else None


def _gather(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    indices = np.array(_plain(arrays[1]), np.int64).reshape(arrays[1].shape)
    return [_as_numbers(np.take(arrays[0], indices, axis=attributes.of.get("axis", 0)))]


def _slice(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    of = attributes.of
    if "starts" in of:
        starts, ends, steps = of["starts"], of["ends"], [1] * len(of["starts"])
        axes = of.get("axes", range(len(starts)))
    else:
        starts, ends = _plain(arrays[1]), _plain(arrays[2])
        axes = _plain(arrays[3]) if len(arrays) > 3 else list(range(len(starts)))
        steps = _plain(arrays[4]) if len(arrays) > 4 else [1] * len(starts)
    index: list[Any] = [slice(None)] * arrays[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = arrays[0].shape[axis]
        stop = None if step < 0 and end < -size else end
        index[axis] = slice(start, stop, step)
    return [arrays[0][tuple(index)]]


def _split(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    axis = attributes.of.get("axis", 0)
    sizes = attributes.of.get("split") or (_plain(arrays[1]) if len(arrays) > 1 else None)
    if sizes is None:
        return list(np.array_split(arrays[0], attributes.outputs, axis))
    return list(np.split(arrays[0], np.cumsum(sizes)[:-1], axis))


def _concat(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    return [np.concatenate(arrays, axis=attributes.of["axis"])]


def _squeeze(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    axes = attributes.axes(arrays)
    return [_as_numbers(np.squeeze(arrays[0], axis=None if axes is None else tuple(axes)))]


def _unsqueeze(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    return [np.expand_dims(arrays[0], tuple(attributes.axes(arrays) or ()))]


def _reshape(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    return [arrays[0].reshape(_plain(arrays[1]))]


def _expand(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    shape = np.broadcast_shapes(arrays[0].shape, tuple(_plain(arrays[1])))
    return [np.broadcast_to(arrays[0], shape)]


def _identity(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    return arrays[:1]


def _pairs(function: Callable[[Any, Any], Any]) -> Callable[..., list[Numbers]]:
    apply = np.frompyfunc(function, 2, 1)
    return lambda arrays, attributes: [_as_numbers(reduce(apply, arrays))]


def _reduction(function: Callable[[Any, Any], Any]) -> Callable[..., list[Numbers] | None]:
    def fold_all(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers] | None:
        if arrays[0].ndim != 1:
            return None
        result = _as_numbers(reduce(function, arrays[0].tolist()))
        return [result.reshape(1) if attributes.of.get("keepdims", 1) else result]

    return fold_all


def _negate(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers]:
    apply = np.frompyfunc(lambda dim: dims.multiply(-1, dim), 1, 1)
    return [_as_numbers(apply(arrays[0]))]


def _where(arrays: list[Numbers], attributes: _Attributes) -> list[Numbers] | None:
    if any(isinstance(item, Steps) for item in arrays[0].reshape(-1)):
        return None
    return [_as_numbers(np.where(arrays[0].astype(bool), arrays[1], arrays[2]))]


def _divide(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return int(a / b) if b else 0
    return dims.divide(a, b)


def _equal(a: Dim, b: Dim) -> bool:
    if a == b:
        return True
    if at_least(a, dims.add(b, 1)) or at_least(b, dims.add(a, 1)):
        return False
    raise NotLoweredError(f"whether {a} is {b} depends on the time steps", timed=True)


def _less(a: Dim, b: Dim) -> bool:
    answer = at_least(a, b)
    if answer is None:
        raise NotLoweredError(f"whether {a} is below {b} depends on the time steps", timed=True)
    return not answer


_STRUCTURE = ("Gather", "Slice", "Split", "Reshape", "Expand", "Squeeze", "Unsqueeze")

Fold = Callable[[list[Numbers], _Attributes], list[Numbers] | None]

FOLDS: dict[str, Fold] = {
    "Add": _pairs(dims.add),
    "Sub": _pairs(dims.subtract),
    "Mul": _pairs(dims.multiply),
    "Div": _pairs(_divide),
    "Min": _pairs(dims.minimum),
    "Max": _pairs(dims.maximum),
    "Equal": _pairs(_equal),
    "Less": _pairs(_less),
    "Greater": _pairs(lambda a, b: _less(b, a)),
    "LessOrEqual": _pairs(lambda a, b: not _less(b, a)),
    "GreaterOrEqual": _pairs(lambda a, b: not _less(a, b)),
    "Neg": _negate,
    "Where": _where,
    "ReduceProd": _reduction(dims.multiply),
    "ReduceSum": _reduction(dims.add),
    "ReduceMin": _reduction(dims.minimum),
    "ReduceMax": _reduction(dims.maximum),
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "Identity": _identity,
}

LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "Shape": shape_of,
    "Size": size_of,
    "ConstantOfShape": constant_of_shape,
    "Range": number_range,
}


def _numbers(value: Dim | Sequence[Dim]) -> Numbers:
    """Return an object array; one number gives shape ``()``."""
    if isinstance(value, int | Steps):
        return _as_numbers(value)
    array = np.empty(len(value), object)
    array[:] = list(value)
    return array


def _as_numbers(value: Any) -> Numbers:
    """Return what numpy gave, which may be a bare element, as an array."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), object)
    array[()] = value
    return array


def _array(value: Constant | Symbolic) -> Numbers:
    if isinstance(value, Constant):
        array = np.empty(value.array.shape, object)
        array[...] = value.array
        return _as_numbers(np.frompyfunc(int, 1, 1)(array))
    return _numbers(value.values).reshape(value.shape)


def _plain(array: Numbers) -> list[int]:
    """Return numbers that must not depend on the time steps."""
    items = array.reshape(-1).tolist()
    if any(isinstance(item, Steps) for item in items):
        raise NotLoweredError("where it reads depends on the time steps", timed=True)
    return [int(item) for item in items]


def _define(
    lowering: Lowering,
    node: onnx.NodeProto,
    array: Numbers,
    name: str | None = None,
    dtype: str = "int64",
) -> None:
    items = array.reshape(-1).tolist()
    shape = tuple(int(size) for size in array.shape)
    name = node.output[0] if name is None else name
    if any(isinstance(item, Steps) for item in items):
        lowering.define(name, Symbolic(tuple(items), shape, dtype))
        return
    kind = "bool" if items and all(isinstance(item, bool) for item in items) else dtype
    lowering.define(name, Constant(np.array(items, kind).reshape(shape)))
