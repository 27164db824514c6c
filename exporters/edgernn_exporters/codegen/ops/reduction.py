"""Reductions along axes, as loops around the expression that is reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from edgernn_exporters.codegen.dims import Shape, at_least, count
from edgernn_exporters.codegen.expressions import label, plain_view, readable
from edgernn_exporters.codegen.loops import Nest, elements, loops, nested, scoped
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import repeated, row_major
from edgernn_exporters.codegen.values import C_TYPES, Lazy, Tensor, View


@dataclass(frozen=True)
class Reduction:
    """How one reduction is computed.

    Attributes:
        start: First value of the accumulator, or None for the first element.
        step: C expression of the next value from ``{sum}`` and the element ``{x}``.
        end: C expression of the result from ``{sum}`` and the number of elements ``{n}``.
        integer: ``step`` for integers, or None if they cannot be reduced so.
    """

    start: str | None
    step: str
    end: str = "{sum}"
    integer: str | None = None


REDUCTIONS = {
    "ReduceSum": Reduction("0", "{sum} + {x}", integer="({sum} + {x})"),
    "ReduceMean": Reduction("0", "{sum} + {x}", "{sum} / ({type}){n}", "({sum} + {x})"),
    "ReduceProd": Reduction("1", "{sum} * {x}", integer="({sum} * {x})"),
    "ReduceMax": Reduction(None, "edgernn_max({sum}, {x})", integer="edgernn_max_int({sum}, {x})"),
    "ReduceMin": Reduction(None, "edgernn_min({sum}, {x})", integer="edgernn_min_int({sum}, {x})"),
    "ReduceL1": Reduction("0", "{sum} + edgernn_abs({x})"),
    "ReduceL2": Reduction("0", "{sum} + edgernn_square({x})", "edgernn_sqrt({sum})"),
    "ReduceSumSquare": Reduction("0", "{sum} + edgernn_square({x})"),
    "ReduceLogSum": Reduction("0", "{sum} + {x}", "edgernn_log({sum})"),
}


def reduce(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit one of the reductions in `REDUCTIONS`."""
    rule = REDUCTIONS[node.op_type]
    name = node.input[0]
    shape = lowering.shape(name)
    axes = _axes(lowering, node, len(shape))
    dtype = lowering.value(name).dtype
    step = rule.step if dtype == "float32" else rule.integer
    if dtype not in ("float32", "int64", "int32") or step is None:
        raise NotLoweredError(f"it reduces {dtype} values")
    value = readable(lowering, name, node)
    if not isinstance(value, Lazy):
        value = Lazy("{0}", (value,), shape, dtype)
    target, spread = _target(lowering, node, axes, dtype)
    expression, views = elements(lowering, value, 1)
    nest = nested([spread, *views], _reading_order(axes, views))
    x = expression.format("", *nest.indices[1:])
    zero, kind = ".0f" if dtype == "float32" else "", C_TYPES[dtype]
    total = lowering.names.unique("best" if rule.start is None else "sum")
    start = f"{rule.start}{zero}"
    if rule.start is None:
        start = expression.format("", *nest.starts[1:])
    cast = f"({kind})" if dtype == "int32" else ""
    size = count([shape[axis] for axis in axes])
    number = str(size) if isinstance(size, int) else f"({size})"
    update = f"{total} = {cast}{step.format(sum=total, x=x)};"
    body = [
        f"{kind} {total} = {start};",
        loops(nest.inner, update, "j"),
        f"{spread.buffer.name}[{nest.indices[0]}] = "
        f"{rule.end.format(sum=total, type=kind, n=number)};",
    ]
    _emit(lowering, node, value, nest, body, target, views)


def log_sum_exp(lowering: Lowering, node: onnx.NodeProto) -> None:
    """ReduceLogSumExp, about the largest element, so that nothing overflows."""
    name = node.input[0]
    shape = lowering.shape(name)
    axes = _axes(lowering, node, len(shape))
    view = plain_view(lowering, name, node)
    if view.dtype != "float32":
        raise NotLoweredError(f"it reduces {view.dtype} values")
    target, spread = _target(lowering, node, axes, "float32")
    nest = nested([spread, view], _reading_order(axes, [view]))
    best, total = lowering.names.unique("best"), lowering.names.unique("sum")
    x = f"{view.buffer.name}[{nest.indices[1]}]"
    body = [
        f"float {best} = {view.buffer.name}[{nest.starts[1]}], {total} = 0.0f;",
        loops(nest.inner, f"{best} = edgernn_max({best}, {x});", "j"),
        loops(nest.inner, f"{total} += edgernn_exp({x} - {best});", "j"),
        f"{target.buffer.name}[{nest.indices[0]}] = {best} + edgernn_log({total});",
    ]
    value = Lazy("{0}", (view,), shape, "float32")
    _emit(lowering, node, value, nest, body, target, [view])


def arg_extreme(lowering: Lowering, node: onnx.NodeProto) -> None:
    """ArgMax and ArgMin."""
    attributes = attributes_of(node)
    name = node.input[0]
    shape = lowering.shape(name)
    axis = int(attributes.get("axis", 0)) % len(shape)
    view = plain_view(lowering, name, node)
    target, spread = _target(lowering, node, [axis], "int64")
    nest = nested([spread, view], [axis])
    sign = ">" if node.op_type == "ArgMax" else "<"
    sign += "=" if attributes.get("select_last_index", 0) else ""
    place = lowering.names.unique("place")
    best = lowering.names.unique("best")
    kind = C_TYPES[view.dtype]
    x = f"{view.buffer.name}[{nest.indices[1]}]"
    search = f"if ({x} {sign} {best}) {{\n    {best} = {x};\n    {place} = (int64_t)j0;\n}}"
    body = [
        f"{kind} {best} = {view.buffer.name}[{nest.starts[1]}];",
        f"int64_t {place} = 0;",
        loops(nest.inner, search, "j") if nest.inner else f"(void){best};",
        f"{target.buffer.name}[{nest.indices[0]}] = {place};",
    ]
    value = Lazy("{0}", (view,), shape, view.dtype)
    _emit(lowering, node, value, nest, body, target, [view])


def global_pool(lowering: Lowering, node: onnx.NodeProto) -> None:
    """GlobalAveragePool and GlobalMaxPool: reductions of all axes but batch and channel."""
    kind = "ReduceMean" if node.op_type == "GlobalAveragePool" else "ReduceMax"
    rank = len(lowering.shape(node.input[0]))
    made = onnx.helper.make_node(
        kind, [node.input[0]], [node.output[0]], name=node.name, axes=list(range(2, rank))
    )
    reduce(lowering, made)


def _axes(lowering: Lowering, node: onnx.NodeProto, rank: int) -> list[int]:
    """Return the axes to reduce."""
    attributes = attributes_of(node)
    axes = lowering.axes(node, attributes)
    if not axes:
        if attributes.get("noop_with_empty_axes", 0) and "axes" not in attributes:
            return []
        axes = list(range(rank))
    return sorted({axis % rank for axis in axes}) if rank else []


def _target(
    lowering: Lowering, node: onnx.NodeProto, axes: Sequence[int], dtype: str
) -> tuple[Tensor, View]:
    """Return the memory of the result, and the same repeated along the reduced axes."""
    shape = lowering.shape(node.input[0])
    if any(at_least(shape[axis], 1) is not True for axis in axes):
        raise NotLoweredError("it may reduce an axis without elements", timed=True)
    kept: Shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    result = kept
    if not attributes_of(node).get("keepdims", 1):
        result = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    target = lowering.destination(node.output[0], result, dtype)
    wide = View(target.buffer, kept, row_major(kept), dtype, target.offset)
    return target, repeated(wide, shape)


def _reading_order(axes: Sequence[int], views: Sequence[View]) -> list[int]:
    """Return the reduced axes in the order in which the first operand lies in memory."""
    if not views:
        return list(axes)
    steps = {axis: views[0].strides[axis] for axis in axes}
    return sorted(axes, key=lambda axis: -_size(steps[axis]))


def _size(stride: object) -> int:
    return abs(stride) if isinstance(stride, int) else 1 << 20


def _emit(
    lowering: Lowering,
    node: onnx.NodeProto,
    value: Lazy,
    nest: Nest,
    body: Sequence[str],
    target: Tensor,
    views: Sequence[View],
) -> None:
    lowering.headers |= {"edgernn_elementwise.h", "edgernn_integers.h"}
    inner = "\n".join(body)
    code = scoped(nest.outer, inner)
    title = Lazy("", (), (), "float32", (*value.labels, label(node))).comment
    lowering.emit(title + code, reads=views, writes=[target])
    lowering.define(node.output[0], target)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    **dict.fromkeys(REDUCTIONS, reduce),
    "ReduceLogSumExp": log_sum_exp,
    "ArgMax": arg_extreme,
    "ArgMin": arg_extreme,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
}
