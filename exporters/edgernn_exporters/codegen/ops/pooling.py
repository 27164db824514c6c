"""MaxPool and AveragePool in one and two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx

from edgernn_exporters.codegen.dims import add, at_least, multiply, subtract
from edgernn_exporters.codegen.loops import loops
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.ops.windows import (
    Axis,
    channels_first,
    channels_last,
    open_axes,
    sum_of,
    variables,
)
from edgernn_exporters.codegen.refusal import NotLoweredError

_LOWEST = -3.4028234663852886e38


def pool(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Pool over windows; padding never wins, and counts in a mean only where it is asked for."""
    attributes = attributes_of(node)
    mean = node.op_type == "AveragePool"
    if any(node.output[1:]):
        raise NotLoweredError("the places of its largest elements are used")
    if attributes.get("storage_order", 0):
        raise NotLoweredError("its storage order is by columns")
    axes = open_axes(lowering, node, attributes["kernel_shape"])
    if mean and any(axis.dilation != 1 for axis in axes):
        raise NotLoweredError("its window has gaps")
    if attributes.get("auto_pad", "").startswith("SAME") and any(
        axis.dilation != 1 or axis.kernel < axis.stride for axis in axes
    ):
        raise NotLoweredError("its automatic padding has no settled meaning with such windows")
    wide = [_overhang(axis) for axis in axes]
    x = channels_last(lowering, node, wide, 0.0 if mean else _LOWEST)
    rows, columns = (Axis(1, 1, out=1), axes[0]) if len(axes) == 1 else (axes[0], axes[1])
    channels = x.shape[-1]
    y = lowering.scratch(node.output[0], (x.shape[0], rows.out, columns.out, channels))
    line = multiply(x.shape[2], channels)
    names, sizes = variables([x.shape[0], rows.out, columns.out])
    strides = [multiply(line, x.shape[1]), multiply(line, rows.stride),
               multiply(channels, columns.stride)]  # fmt: skip
    place = sum_of(names, strides)
    width = multiply(columns.out, channels)
    to = sum_of(names, [multiply(rows.out, width), width, channels])
    window = (
        f"{y.c} + {to}, {x.c} + {place}, {rows.kernel}, {multiply(line, rows.dilation)}, "
        f"{columns.kernel}, {multiply(channels, columns.dilation)}"
    )
    if mean:
        number = _counted(node, axes, names[3 - len(axes) :])
        body = f"edgernn_mean_window_f32({window}, {number}, {channels});"
    else:
        body = f"edgernn_max_window_f32({window}, {channels});"
    kernel = " x ".join(str(axis.kernel) for axis in axes)
    title = f"{lowering.comment(node)[:-3]}, window {kernel} */"
    lowering.headers.add("edgernn_conv.h")
    lowering.emit(f"{title}\n{loops(sizes, body)}", reads=[x], writes=[y])
    channels_first(lowering, node.output[0], y, len(axes))


def _overhang(axis: Axis) -> Axis:
    """Return the axis with so much padding behind that the last window lies inside."""
    reach = add(multiply(add(axis.out, -1), axis.stride), axis.extent)
    missing = subtract(reach, add(axis.size, axis.before + axis.after))
    if at_least(missing, 1) and isinstance(missing, int):
        return replace(axis, after=axis.after + missing)
    return axis


def _counted(node: onnx.NodeProto, axes: Sequence[Axis], names: Sequence[str]) -> str:
    """Return the number of elements of a window that count, as a C expression."""
    include = bool(attributes_of(node).get("count_include_pad", 0))
    factors = []
    for axis, name in zip(axes, names, strict=True):
        padded = axis.before or axis.after
        if _overhang(axis) == axis and (include or not padded):
            factors.append(str(axis.kernel))
            continue
        low = 0 if include else axis.before
        high = add(axis.size, axis.before + (axis.after if include else 0))
        factors.append(f"edgernn_inside({name} * {axis.stride}, {axis.kernel}, {low}, {high})")
    return " * ".join(factors)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "MaxPool": pool,
    "AveragePool": pool,
}
