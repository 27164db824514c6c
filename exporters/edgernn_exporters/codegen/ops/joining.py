"""Operators that put values together or around: Concat, Pad, CumSum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from edgernn_exporters.codegen.dims import Dim, add, at_least, subtract
from edgernn_exporters.codegen.expressions import (
    define_view,
    label,
    plain_view,
    readable,
    result_view,
    rewritten,
)
from edgernn_exporters.codegen.loops import literal, loops, materialize, nested, scoped, view_loops
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import sliced, view_of
from edgernn_exporters.codegen.values import C_TYPES, Lazy, View


def concat(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Concat: each input is computed, or copied, into its part of the result."""
    shapes = [lowering.shape(name) for name in node.input]
    rank = len(shapes[0])
    axis = int(attributes_of(node)["axis"]) % rank
    total: Dim = 0
    for shape in shapes:
        if shape[:axis] != shapes[0][:axis] or shape[axis + 1 :] != shapes[0][axis + 1 :]:
            raise NotLoweredError("its inputs differ beside the joined axis", timed=True)
        total = add(total, shape[axis])
    whole = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
    dtype = lowering.value(node.input[0]).dtype
    parts = [_lazy(lowering, name, node) for name in node.input]
    target = result_view(lowering, node.output[0], whole, dtype)
    begin: Dim = 0
    for shape, part in zip(shapes, parts, strict=True):
        if shape[axis] != 0:
            materialize(lowering, part, sliced(target, axis, begin, shape[axis]))
        begin = add(begin, shape[axis])
    define_view(lowering, node.output[0], target)


def _lazy(lowering: Lowering, name: str, node: onnx.NodeProto) -> Lazy:
    value = readable(lowering, name, node)
    if isinstance(value, Lazy):
        return Lazy(value.code, value.operands, value.shape, value.dtype,
                    (*value.labels, label(node)))  # fmt: skip
    return Lazy("{0}", (value,), value.shape, value.dtype, (label(node),))


def pad(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Pad with a constant, the edge, or a reflection; negative amounts cut off."""
    attributes = attributes_of(node)
    name, shape = node.input[0], lowering.shape(node.input[0])
    before, after = _amounts(lowering, node, attributes, len(shape))
    pairs = enumerate(zip(before, after, strict=True))
    cuts = [(axis, min(0, b), min(0, a)) for axis, (b, a) in pairs]

    def change(view: View) -> View:
        for axis, b, a in cuts:
            if b or a:
                view = sliced(view, axis, -b, add(view.shape[axis], a + b))
        return view

    inner = rewritten(lowering, name, node, change)
    assert inner is not None
    before, after = [max(0, b) for b in before], [max(0, a) for a in after]
    whole = tuple(add(size, b + a) for size, b, a in zip(inner.shape, before, after, strict=True))
    if any(at_least(size, 0) is not True for size in (*inner.shape, *whole)):
        raise NotLoweredError("it cuts off more than there may be", timed=True)
    target = result_view(lowering, node.output[0], whole, inner.dtype)
    middle = target
    for axis, b in enumerate(before):
        middle = sliced(middle, axis, b, inner.shape[axis])
    mode = attributes.get("mode", "constant")
    value = Lazy(inner.code, inner.operands, inner.shape, inner.dtype,
                 (*inner.labels, label(node)))  # fmt: skip
    if mode == "constant":
        fill = Lazy(_fill(lowering, node, attributes, inner.dtype), (), whole, inner.dtype)
        materialize(lowering, fill, target)
        materialize(lowering, value, middle)
    elif mode in _MIRRORS:
        materialize(lowering, value, middle)
        for axis, size in enumerate(inner.shape):
            _extend(lowering, mode, target, axis, before, after, size)
    else:
        raise NotLoweredError(f"its mode {mode!r} is unknown")
    define_view(lowering, node.output[0], target)


def _amounts(
    lowering: Lowering, node: onnx.NodeProto, attributes: dict[str, list[int]], rank: int
) -> tuple[list[int], list[int]]:
    pads: list[Dim] = [*attributes["pads"]] if "pads" in attributes else []
    axes: list[Dim] = list(range(rank))
    if not pads:
        pads = lowering.integers(node.input[1], "pads")
        if len(node.input) > 3 and node.input[3]:
            axes = lowering.integers(node.input[3], "axes")
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        low, high = pads[place], pads[place + len(axes)]
        if not (isinstance(low, int) and isinstance(high, int) and isinstance(axis, int)):
            raise NotLoweredError("its pads depend on the time steps", timed=True)
        before[axis % rank], after[axis % rank] = low, high
    return before, after


def _fill(
    lowering: Lowering, node: onnx.NodeProto, attributes: dict[str, float], dtype: str
) -> str:
    if len(node.input) > 2 and node.input[2]:
        array = lowering.require_constant(node.input[2], "value")
        return literal(array.reshape(-1)[0] if array.size else 0, dtype)
    return literal(np.float32(attributes.get("value", 0.0)), dtype)


# Where the padding before (at p) and after (at n + p) reads, as an index of the n elements.
_MIRRORS = {
    "edge": ("0", "{n} - 1"),
    "reflect": ("{b} - {p}", "{n} - 2 - {p}"),
    "wrap": ("{n} - {b} + {p}", "{p}"),
}


def _extend(
    lowering: Lowering,
    mode: str,
    target: View,
    axis: int,
    before: list[int],
    after: list[int],
    size: Dim,
) -> None:
    """Fill the padding of one axis from its inside; axes after this one are not padded yet."""
    b, a = before[axis], after[axis]
    needed = max(a, b) + (1 if mode == "reflect" else 0) if mode != "edge" else 1
    if (a or b) and at_least(size, needed) is not True:
        raise NotLoweredError(f"it pads {size} elements by {max(a, b)}", timed=True)
    stride = target.strides[axis]
    plane = sliced(target, axis, 0, 1)
    for other in range(axis + 1, len(before)):  # padded later
        inside = subtract(subtract(plane.shape[other], before[other]), after[other])
        plane = sliced(plane, other, before[other], inside)
    buffer = target.buffer.name
    for many, place, source in zip((b, a), ("{p}", "{b} + {n} + {p}"), _MIRRORS[mode], strict=True):
        if not many:
            continue
        texts = [text.format(p="p0", b=b, n=f"({size})") for text in (place, f"{b} + {source}")]
        body = (
            f"{buffer}[({texts[0]}) * ({stride}) + {{0}}] = "
            f"{buffer}[({texts[1]}) * ({stride}) + {{0}}];"
        )
        code = loops([many], view_loops([plane], body), "p")
        lowering.emit(code, reads=[target], writes=[target])


def cumulative_sum(lowering: Lowering, node: onnx.NodeProto) -> None:
    """CumSum along a constant axis."""
    name = node.input[0]
    attributes = attributes_of(node)
    (axis,) = lowering.integers(node.input[1], "axis")
    source = plain_view(lowering, name, node)
    if source.dtype not in ("float32", "int64", "int32") or not isinstance(axis, int):
        raise NotLoweredError(f"it sums {source.dtype} values")
    axis %= len(source.shape)
    target = lowering.destination(node.output[0], source.shape, source.dtype)
    views = [view_of(target), source]
    if attributes.get("reverse", 0):
        size = source.shape[axis]
        views = [sliced(view, axis, add(size, -1), size, -1) for view in views]
    nest = nested(views, [axis])
    total, kind = lowering.names.unique("total"), C_TYPES[source.dtype]
    steps = [
        f"{total} += {source.buffer.name}[{nest.indices[1]}];",
        f"{target.c}[{nest.indices[0]}] = {total};",
    ]
    if attributes.get("exclusive", 0):
        value = lowering.names.unique("value")
        steps = [f"const {kind} {value} = {source.buffer.name}[{nest.indices[1]}];",
                 f"{target.c}[{nest.indices[0]}] = {total};", f"{total} += {value};"]  # fmt: skip
    body = [f"{kind} {total} = 0;", loops(nest.inner, "\n".join(steps), "j")]
    code = scoped(nest.outer, "\n".join(body))
    lowering.emit(f"{lowering.comment(node)}\n{code}", reads=[source], writes=[target])
    lowering.define(node.output[0], target)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "Concat": concat,
    "Pad": pad,
    "CumSum": cumulative_sum,
}
