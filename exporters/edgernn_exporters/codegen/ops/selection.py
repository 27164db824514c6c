"""Operators that take parts of a value: slices are views, lookups are loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx

from edgernn_exporters.codegen.dims import Dim, add, at, at_least, maximum, minimum, multiply
from edgernn_exporters.codegen.expressions import (
    Change,
    full_view,
    label,
    plain_view,
    reshape_change,
    rewritten,
    unlabelled,
)
from edgernn_exporters.codegen.loops import loops, materialize, nested, scoped, view_loops
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.ops.shape_arithmetic import size_in_steps
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import picked, repeated, sliced, view_of
from edgernn_exporters.codegen.values import Constant, Lazy, Tensor, View


def slice_(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Slice with known limits; negative ones count from the end, all are clamped."""
    attributes = attributes_of(node)
    shape = lowering.shape(node.input[0])
    starts, ends, axes, steps = _limits(lowering, node, attributes, len(shape))
    cuts: list[tuple[int, Dim, Dim, int]] = []
    for start, end, place, step in zip(starts, ends, axes, steps, strict=True):
        if not isinstance(step, int) or step == 0 or not isinstance(place, int):
            raise NotLoweredError("its steps are not known")
        axis = place % len(shape)
        size = shape[axis]
        first, last = (0, size) if step > 0 else (-1, add(size, -1))
        begin = _clamped(start, size, maximum(first, 0), last)
        stop = _clamped(end, size, first, last)
        cuts.append((axis, begin, size_in_steps(begin, stop, step), step))

    def change(view: View) -> View:
        for axis, begin, length, step in cuts:
            view = sliced(view, axis, begin, length, step)
        return view

    value = rewritten(lowering, node.input[0], node, change)
    assert value is not None
    lowering.define(node.output[0], unlabelled(value, node))


def _limits(
    lowering: Lowering, node: onnx.NodeProto, attributes: dict[str, list[int]], rank: int
) -> tuple[list[Dim], list[Dim], list[Dim], list[Dim]]:
    if "starts" in attributes:
        starts: list[Dim] = [*attributes["starts"]]
        default = list(range(len(starts)))
        return starts, [*attributes["ends"]], [*attributes.get("axes", default)], [1] * len(starts)
    names = [*node.input, "", ""]
    starts = lowering.integers(names[1], "start")
    ends = lowering.integers(names[2], "end")
    axes: list[Dim] = list(range(len(starts)))
    steps: list[Dim] = [1] * len(starts)
    if names[3]:
        axes = lowering.integers(names[3], "axes")
    if names[4]:
        steps = lowering.integers(names[4], "steps")
    return starts, ends, axes, steps


def _clamped(place: Dim, size: Dim, low: Dim, high: Dim) -> Dim:
    """Return a limit of a slice as an index in ``low .. high``."""
    below = at_least(-1, place)
    if below is None:
        raise NotLoweredError(f"the sign of {place} depends on the time steps", timed=True)
    if below:
        if isinstance(place, int) and place <= -(2**31):
            return low
        place = add(place, size)
    return minimum(maximum(place, low), high)


def split(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Split into parts of named sizes, or of equal ones."""
    attributes = attributes_of(node)
    shape = lowering.shape(node.input[0])
    axis = int(attributes.get("axis", 0)) % len(shape)
    parts: list[Dim] = [*attributes.get("split", [])]
    if not parts and len(node.input) > 1 and node.input[1]:
        parts = lowering.integers(node.input[1], "split")
    if not parts:
        number, size = len(node.output), shape[axis]
        if not isinstance(size, int):
            raise NotLoweredError("it splits the time steps into equal parts", timed=True)
        even = -(-size // number)
        parts = [min(even, size - even * place) for place in range(number)]
    begin: Dim = 0
    for name, part in zip(node.output, parts, strict=True):
        if name:
            value = rewritten(lowering, node.input[0], node, _part(axis, begin, part))
            assert value is not None
            lowering.define(name, unlabelled(value, node))
        begin = add(begin, part)
    if begin != shape[axis]:
        raise NotLoweredError(f"its parts are {begin} long, the axis is {shape[axis]}", timed=True)


def _part(axis: int, begin: Dim, size: Dim) -> Change:
    return lambda view: sliced(view, axis, begin, size)


def gather(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Gather along an axis; runtime indices are clamped to what is there."""
    data, where = node.input
    shape = lowering.shape(data)
    axis = int(attributes_of(node).get("axis", 0)) % len(shape)
    indices = lowering.constant(where)
    if indices is not None and indices.ndim == 0:
        place = _place(int(indices), shape[axis])
        value = rewritten(lowering, data, node, lambda view: picked(view, axis, place))
        assert value is not None
        lowering.define(node.output[0], unlabelled(value, node))
        return
    places = lowering.tensor(where)
    if places.dtype not in ("int64", "int32"):
        raise NotLoweredError(f"its indices are {places.dtype}")
    source = _forward(lowering, data, node, axis)
    result = (*shape[:axis], *places.shape, *shape[axis + 1 :])
    target = lowering.destination(node.output[0], result, source.dtype)
    middle = (0,) * len(places.shape)
    rows = replace(
        source,
        shape=result,
        strides=(*source.strides[:axis], *middle, *source.strides[axis + 1 :]),
    )
    tail = len(shape) - axis - 1
    looked = repeated(view_of(replace(places, shape=places.shape + (1,) * tail)), result)
    inner = range(len(result) - tail, len(result))
    nest = nested([view_of(target), rows, looked], inner)
    stride = source.strides[axis]
    row = lowering.names.unique("row")
    given = f"{places.buffer.name}[{nest.indices[2]}]"
    lines = [
        f"const size_t {row} = edgernn_index({given}, {shape[axis]});",
        loops(nest.inner, f"{target.c}[{nest.indices[0]}] = "
              f"{source.buffer.name}[{nest.indices[1]} + {row} * ({stride})];", "j"),
    ]  # fmt: skip
    code = scoped(nest.outer, "\n".join(lines))
    lowering.headers.add("edgernn_integers.h")
    lowering.emit(f"{lowering.comment(node)}\n{code}", reads=[source, places], writes=[target])
    lowering.define(node.output[0], target)


def _forward(lowering: Lowering, name: str, node: onnx.NodeProto, axis: int) -> View:
    """Return memory that holds a value, and goes forward along an axis."""
    view = plain_view(lowering, name, node)
    return view if at(view.strides[axis], 1) >= 0 else view_of(lowering.tensor(name))


def _place(position: int, size: Dim) -> Dim:
    """Return an index as one from the start.

    Raises:
        NotLoweredError: There is no such element.
    """
    place = position if position >= 0 else add(size, position)
    inside = at_least(place, 0), at_least(add(size, -1), place)
    if inside != (True, True):
        raise NotLoweredError(f"it takes element {position} of {size}", timed=None in inside)
    return place


def tile(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Tile: each axis becomes two, repeats and elements, of which the first is read again."""
    repeats = lowering.integers(node.input[1], "repeats")
    shape = lowering.shape(node.input[0])
    pairs = tuple(size for pair in zip(repeats, shape, strict=True) for size in pair)
    singles = tuple(size for size in shape for size in (1, size))
    result = tuple(multiply(a, b) for a, b in zip(repeats, shape, strict=True))
    name = node.input[0]
    value = rewritten(lowering, name, node, reshape_change(singles), repeats=True)
    if value is None:
        lowering.tensor(name)
        value = rewritten(lowering, name, node, reshape_change(singles))
    assert value is not None
    wide = Lazy(value.code, tuple(
        operand if isinstance(operand, Constant) and operand.array.size == 1
        else repeated(full_view(lowering, operand, singles), pairs)
        for operand in value.operands
    ), pairs, value.dtype, (*value.labels, label(node)))  # fmt: skip
    target = lowering.destination(node.output[0], result, value.dtype)
    materialize(lowering, wide, Tensor(target.buffer, pairs, target.dtype))
    lowering.define(node.output[0], target)


def gather_elements(lowering: Lowering, node: onnx.NodeProto) -> None:
    """GatherElements; indices are clamped to what is there."""
    data, where = node.input
    shape = lowering.shape(data)
    axis = int(attributes_of(node).get("axis", 0)) % len(shape)
    places, source = lowering.tensor(where), _forward(lowering, data, node, axis)
    if places.dtype not in ("int64", "int32"):
        raise NotLoweredError(f"its indices are {places.dtype}")
    target = lowering.destination(node.output[0], places.shape, source.dtype)
    strides = (*source.strides[:axis], 0, *source.strides[axis + 1 :])
    rows = replace(source, shape=places.shape, strides=strides)
    place = f"edgernn_index({places.buffer.name}[{{1}}], {shape[axis]})"
    body = f"{target.c}[{{0}}] = {source.buffer.name}[{{2}} + {place} * ({source.strides[axis]})];"
    code = view_loops([view_of(target), view_of(places), rows], body)
    lowering.headers.add("edgernn_integers.h")
    lowering.emit(f"{lowering.comment(node)}\n{code}", reads=[source, places], writes=[target])
    lowering.define(node.output[0], target)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Tile": tile,
}
