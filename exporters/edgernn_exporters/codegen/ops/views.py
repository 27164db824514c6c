"""Operators that only look at memory in another way: nothing is computed, little is copied."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from edgernn_exporters.codegen.dims import Dim, Shape, at_least, broadcast, count, divide
from edgernn_exporters.codegen.expressions import (
    Change,
    reshape_change,
    rewritten,
    unlabelled,
    unsqueeze_change,
)
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import permuted, removed, repeated
from edgernn_exporters.codegen.values import Constant, Tensor, View


def identity(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Identity, and Dropout outside training."""
    if node.op_type == "Dropout":
        training = lowering.constant(node.input[2]) if len(node.input) > 2 else None
        if len(node.input) > 2 and node.input[2] and (training is None or training.any()):
            raise NotLoweredError("it drops elements, as in training")
        if len(node.output) > 1 and node.output[1]:
            raise NotLoweredError("its mask is used")
    lowering.define(node.output[0], lowering.value(node.input[0]))


def reshape(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Reshape with a known shape; 0 keeps a size, -1 takes what is left."""
    wanted = lowering.integers(node.input[1], "shape")
    given = lowering.shape(node.input[0])
    keep = not attributes_of(node).get("allowzero", 0)
    shape: list[Dim] = []
    for axis, size in enumerate(wanted):
        if size == 0 and keep and axis >= len(given):
            raise NotLoweredError(f"it keeps axis {axis} of {len(given)}")
        shape.append(given[axis] if size == 0 and keep else size)
    if -1 in shape:
        rest = count([size for size in shape if size != -1])
        shape[shape.index(-1)] = divide(count(given), rest)
    view(lowering, node, tuple(shape))


def flatten(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Flatten to two axes."""
    given = lowering.shape(node.input[0])
    axis = int(attributes_of(node).get("axis", 1))
    axis += len(given) if axis < 0 else 0
    view(lowering, node, (count(given[:axis]), count(given[axis:])))


def squeeze(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Squeeze the named axes, or all of size 1."""
    given = lowering.shape(node.input[0])
    axes = lowering.axes(node, attributes_of(node))
    if axes is None:
        axes = [axis for axis, size in enumerate(given) if size == 1]
    gone = sorted({axis % len(given) for axis in axes}) if given else []
    if any(given[axis] != 1 for axis in gone):
        raise NotLoweredError(f"it squeezes axes {gone}, which are not of size 1", timed=True)

    def change(view: View) -> View:
        for axis in reversed(gone):
            view = removed(view, axis)
        return view

    shape = tuple(size for axis, size in enumerate(given) if axis not in gone)
    view(lowering, node, shape, change)


def unsqueeze(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Unsqueeze at the named axes."""
    given = list(lowering.shape(node.input[0]))
    axes = lowering.axes(node, attributes_of(node)) or []
    rank = len(given) + len(axes)
    places = sorted(axis % rank for axis in axes)
    for axis in places:
        given.insert(axis, 1)
    view(lowering, node, tuple(given), unsqueeze_change(places))


def transpose(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Transpose; the elements are moved when something needs them in order, if ever."""
    rank = len(lowering.shape(node.input[0]))
    permutation = attributes_of(node).get("perm") or list(reversed(range(rank)))
    value = rewritten(lowering, node.input[0], node, lambda view: permuted(view, permutation))
    assert value is not None
    lowering.define(node.output[0], unlabelled(value, node))


def expand(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Expand by broadcasting; elements are read again rather than copied."""
    wanted = tuple(lowering.integers(node.input[1], "shape"))
    if any(at_least(size, 0) is not True for size in wanted):
        raise NotLoweredError("its shape may be negative", timed=True)
    shape = broadcast(lowering.shape(node.input[0]), wanted)
    value = rewritten(
        lowering, node.input[0], node, lambda view: repeated(view, shape), repeats=True
    )
    assert value is not None
    lowering.define(node.output[0], unlabelled(value, node))


def view(
    lowering: Lowering, node: onnx.NodeProto, shape: Shape, change: Change | None = None
) -> None:
    """Define a node's output as its input with another shape."""
    name = node.input[0]
    value = lowering.value(name)
    sizes = [size for size in shape if isinstance(size, int)]
    if isinstance(value, Constant) and len(sizes) == len(shape):
        lowering.define(node.output[0], Constant(np.reshape(value.array, sizes)))
        return
    if count(value.shape) != count(shape):
        raise NotLoweredError(
            f"it gives {count(value.shape)} elements a shape of {count(shape)}", timed=True
        )
    if not isinstance(value, Tensor):
        seen = rewritten(lowering, name, node, change or reshape_change(shape))
        if seen is not None:
            lowering.define(node.output[0], seen)
            return
    source = lowering.tensor(name)
    lowering.define(node.output[0], Tensor(source.buffer, shape, source.dtype, source.offset))


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "Identity": identity,
    "Dropout": identity,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
}
