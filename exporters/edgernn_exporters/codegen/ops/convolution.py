"""Conv and ConvTranspose, in one and two dimensions, as products of overlapping rows.

Data lie channels last, ``[N, H, W, C]`` (``H`` is 1 in one dimension), with the padding around
them. Then what a row of the kernel covers is one contiguous piece of memory, the pieces of
neighbouring outputs overlap, and `edgernn_linear_f32` multiplies them by the weights where they
are. Results stay channels last; whoever needs another order moves them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, add, at, at_least, count, multiply
from edgernn_exporters.codegen.expressions import define_view, label
from edgernn_exporters.codegen.loops import loops, materialize, scoped
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.normalization import following_scale
from edgernn_exporters.codegen.ops.windows import (
    Axis,
    channels_first,
    channels_last,
    open_axes,
    read_axes,
    sum_of,
    variables,
)
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import permuted, sliced, view_of
from edgernn_exporters.codegen.values import Constant, Lazy, Tensor

Floats = NDArray[np.float32]

_FEW = 16
"""Inputs of a product below which it is worth while to copy them into longer rows first."""


def conv(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Conv with constant weights; a batch normalization behind it is folded in."""
    weight = float_constant(lowering.require_constant(node.input[1], "weight"))
    axes = open_axes(lowering, node, weight.shape[2:])
    group = int(attributes_of(node).get("group", 1))
    outputs = weight.shape[0]
    bias = _bias(lowering, node, outputs)
    output, scale, shift = following_scale(lowering, node.output[0], outputs)
    bias = bias * scale + shift
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    x = channels_last(lowering, node, axes)
    channels = weight.shape[1] * group
    if channels != x.shape[-1] or outputs % group:
        raise NotLoweredError(f"it has weights for {weight.shape[1]} x {group} channels")
    rows, columns = _two(axes)
    weight = weight.reshape(outputs, -1, rows.kernel, columns.kernel)
    shape = (x.shape[0], rows.out, columns.out, outputs)
    y = lowering.scratch(output, shape)
    stored = lowering.weight(f"{node.input[1]}_bias", bias) if bias.any() else None
    windows: list[Tensor] = []
    few = columns.kernel * channels < _FEW and rows.kernel > 1 and columns.out != 1
    if group == channels == outputs:
        code = _depthwise(lowering, node, (x, y), (rows, columns), weight, stored)
    elif group == 1 and columns.dilation == 1 and few:
        covered = int(np.prod(weight.shape[1:]))
        windows.append(lowering.scratch("windows", (columns.out, covered)))
        code = _gathered(lowering, node, (x, y, windows[0]), (rows, columns), weight, stored)
    else:
        code = _products(lowering, node, (x, y), (rows, columns), weight, stored)
    title = f"{lowering.comment(node)[:-3]}, kernel {_times(a.kernel for a in axes)} */"
    lowering.emit(f"{title}\n{code}", reads=[x, *windows], writes=[y, *windows])
    lowering.count_macs(multiply(count(shape), int(np.prod(weight.shape[1:]))))
    channels_first(lowering, output, y, len(axes))


def _depthwise(
    lowering: Lowering,
    node: onnx.NodeProto,
    memory: tuple[Tensor, Tensor],
    axes: tuple[Axis, Axis],
    weight: Floats,
    bias: str | None,
) -> str:
    (x, y), (rows, columns) = memory, axes
    taps = lowering.weight(node.input[1], weight[:, 0].transpose(1, 2, 0))
    lowering.headers.add("edgernn_conv.h")
    channels = weight.shape[0]
    line = _line(x)
    names, sizes = variables([x.shape[0], rows.out])
    to = sum_of(names, [multiply(rows.out, columns.out), columns.out], channels)
    steps = [multiply(x.shape[1], x.shape[2]), multiply(x.shape[2], rows.stride)]
    start = sum_of(names, steps, channels)
    call = (
        f"edgernn_depthwise_f32({_plus(y.c, to)}, {bias or 'NULL'}, {_plus(x.c, start)}, "
        f"{columns.stride * channels}, {taps}, {rows.kernel}, {multiply(line, rows.dilation)}, "
        f"{columns.kernel}, {columns.dilation * channels}, {columns.out}, {channels});"
    )
    return loops(sizes, call)


def _gathered(
    lowering: Lowering,
    node: onnx.NodeProto,
    memory: tuple[Tensor, Tensor, Tensor],
    axes: tuple[Axis, Axis],
    weight: Floats,
    bias: str | None,
) -> str:
    """Copy the windows of an output row to rows of their own: they are in short pieces."""
    (x, y, windows), (rows, columns) = memory, axes
    outputs, channels = weight.shape[:2]
    depth = columns.kernel * channels
    covered = depth * rows.kernel
    line = _line(x)
    taps = weight.transpose(0, 2, 3, 1).reshape(1, outputs, covered)
    product = pack(lowering, node.input[1], taps)
    names, sizes = variables([x.shape[0], rows.out])
    to = sum_of(names, [multiply(rows.out, columns.out), columns.out], outputs)
    start = sum_of(names, [multiply(x.shape[1], line), multiply(line, rows.stride)])
    lowering.headers.add("edgernn_conv.h")
    lines = [
        f"edgernn_windows_f32({windows.c}, {_plus(x.c, start)}, {columns.stride * channels}, "
        f"{rows.kernel}, {multiply(line, rows.dilation)}, {depth}, {columns.out});",
        f"edgernn_linear_f32({_plus(y.c, to)}, {outputs}, {bias or 'NULL'}, 0, {windows.c}, "
        f"{covered}, {product}, {columns.out}, {outputs}, {covered});",
    ]
    return scoped(sizes, "\n".join(lines))


def _products(
    lowering: Lowering,
    node: onnx.NodeProto,
    memory: tuple[Tensor, Tensor],
    axes: tuple[Axis, Axis],
    weight: Floats,
    bias: str | None,
) -> str:
    """Emit one product for each output row, group, and piece of the kernel."""
    (x, y), (rows, columns) = memory, axes
    outputs, inner = weight.shape[:2]
    group = int(at(x.shape[-1], 1)) // inner
    line, batches = _line(x), x.shape[0]
    depth = inner * columns.kernel
    if all(axis.kernel == axis.stride == 1 for axis in axes):  # all places are alike
        columns = Axis(0, 1, out=multiply(batches, multiply(rows.out, columns.out)))
        rows, batches = Axis(1, 1), 1
    if group == 1 and columns.dilation == 1:
        taps = weight.transpose(2, 0, 3, 1).reshape(rows.kernel, 1, 1, outputs, depth)
        if rows.kernel > 1 and rows.dilation == 1 and line == depth and columns.out == 1:
            # The kernel is as wide as the data: its rows are one piece, and so are the outputs.
            depth *= rows.kernel
            taps = taps.transpose(1, 2, 3, 0, 4).reshape(1, 1, 1, outputs, depth)
            columns = Axis(0, 1, rows.stride * columns.kernel, out=rows.out)
            rows = Axis(1, 1)
    else:
        taps = weight.reshape(group, -1, inner, rows.kernel, columns.kernel)
        taps, depth = taps.transpose(3, 4, 0, 1, 2), inner
    several = tuple(int(size) for size in taps.shape[:3])
    each = outputs // group
    product = pack(lowering, node.input[1], taps.reshape(-1, each, depth))
    size = lowering.weights.arrays[product].size // int(np.prod(several))
    channels = inner * group
    names, sizes = variables([batches, rows.out, *several])
    batch, row, p, q, g = names
    to = sum_of([batch, row], [multiply(rows.out, columns.out), columns.out], outputs, g, each)
    start = sum_of(
        [batch, row, p, q],
        [count(x.shape[1:3]), multiply(x.shape[2], rows.stride),
         multiply(x.shape[2], rows.dilation), columns.dilation],
        channels, g, inner,
    )  # fmt: skip
    tap = sum_of([p, q, g], [several[1] * several[2], several[2], 1], size)
    offset = "0" if g == "0" else f"{g} * {each}"
    first = "NULL, 0" if bias is None else f"{_plus(bias, offset)}, 0"
    out = lowering.names.unique("out")
    begin = first
    if any(name != "0" for name in (p, q)):
        test = " + ".join(name for name in (p, q) if name != "0")
        base, _ = first.split(", ")
        begin = f"{test} == 0 ? {base} : {out}, {test} == 0 ? 0 : {outputs}"
    lines = [
        f"float *const {out} = {_plus(y.c, to)};",
        f"edgernn_linear_f32({out}, {outputs}, {begin}, {_plus(x.c, start)}, "
        f"{multiply(channels, columns.stride)}, {_plus(product, tap)}, {columns.out}, {each}, "
        f"{depth});",
    ]
    return scoped(sizes, "\n".join(lines))


def conv_transpose(lowering: Lowering, node: onnx.NodeProto) -> None:
    """ConvTranspose with constant weights: every input adds its window to the output."""
    weight = float_constant(lowering.require_constant(node.input[1], "weight"))
    attributes = attributes_of(node)
    given = read_axes(lowering, node, weight.shape[2:])
    axes = [replace(axis, before=0, after=0) for axis in given]
    group = int(attributes.get("group", 1))
    each = weight.shape[1]
    bias = _bias(lowering, node, each * group)
    output, scale, shift = following_scale(lowering, node.output[0], each * group)
    bias = bias * scale + shift
    x = channels_last(lowering, node, axes)
    channels = x.shape[-1]
    if channels != weight.shape[0] or weight.shape[0] % group:
        raise NotLoweredError(f"it has weights for {weight.shape[0]} channels")
    cuts = _transposed_cuts(node, axes)
    full = [add(end, cut[2]) for end, cut in zip(map(_full, axes), cuts, strict=True)]
    rows, columns = _two(axes)
    height, width = full if len(full) == 2 else (1, full[0])
    outputs, inner = each * group, weight.shape[0] // group
    weight = weight.reshape(group, inner, each, rows.kernel, columns.kernel)
    weight = weight * scale.reshape(group, 1, each, 1, 1)
    y = lowering.scratch(output, (x.shape[0], height, width, outputs))
    fill = Lazy("{0}", (Constant(bias.astype(np.float32)),), y.shape, "float32")
    if not bias.any():
        fill = Lazy("0.0f", (), y.shape, "float32")
    fill = replace(fill, labels=(f"{label(node)}, kernel {_times(a.kernel for a in axes)}",))
    materialize(lowering, fill, y)
    taps = weight.transpose(3, 4, 0, 2, 1)
    if group == 1 and columns.dilation == 1 and columns.stride >= columns.kernel:
        taps = taps.transpose(0, 2, 1, 3, 4).reshape(rows.kernel, 1, 1, -1, inner)
    several, rows_of_tap = tuple(int(size) for size in taps.shape[:3]), int(taps.shape[3])
    product = pack(lowering, node.input[1], taps.reshape(-1, rows_of_tap, inner))
    size = lowering.weights.arrays[product].size // int(np.prod(several))
    names, sizes = variables([x.shape[0], x.shape[1], *several])
    batch, row, p, q, g = names
    start = sum_of([batch, row], [count(x.shape[1:3]), x.shape[2]], inner * group, g, inner)
    to = sum_of(
        [batch, row, p, q],
        [multiply(height, width), multiply(width, rows.stride),
         multiply(width, rows.dilation), columns.dilation],
        outputs, g, each,
    )  # fmt: skip
    tap = sum_of([p, q, g], [several[1] * several[2], several[2], 1], size)
    out, step = lowering.names.unique("out"), columns.stride * outputs
    call = (
        f"float *const {out} = {_plus(y.c, to)};\n"
        f"edgernn_linear_f32({out}, {step}, {out}, {step}, {_plus(x.c, start)}, {inner * group}, "
        f"{_plus(product, tap)}, {x.shape[2]}, {rows_of_tap}, {inner});"
    )
    lowering.emit(scoped(sizes, call), reads=[x, y], writes=[y])
    lowering.count_macs(multiply(count(x.shape), each * rows.kernel * columns.kernel))
    view = view_of(y)
    for axis, (before, out_size, _) in enumerate(cuts, start=3 - len(cuts)):
        view = sliced(view, axis, before, out_size)
    order = [0, 3, 2] if len(axes) == 1 else [0, 3, 1, 2]
    define_view(lowering, output, permuted(view, order))


def _transposed_cuts(node: onnx.NodeProto, axes: Sequence[Axis]) -> list[tuple[int, Dim, int]]:
    """Return where each axis of the output begins, its size, and how much is added behind."""
    attributes = attributes_of(node)
    extra = attributes.get("output_padding") or [0] * len(axes)
    pads = attributes.get("pads") or [0] * 2 * len(axes)
    wanted = attributes.get("output_shape")
    auto = attributes.get("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * 2 * len(axes)
    cuts: list[tuple[int, Dim, int]] = []
    for place, axis in enumerate(axes):
        before, after = pads[place], pads[place + len(axes)]
        size: Dim = add(_full(axis), extra[place] - before - after)
        if wanted or auto.startswith("SAME"):
            size = wanted[-len(axes) :][place] if wanted else multiply(axis.size, axis.stride)
            total = add(add(_full(axis), extra[place]), multiply(-1, size))
            if not isinstance(total, int) or total < 0:
                raise NotLoweredError(f"its output is {size} long, beyond what it computes")
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        if at_least(size, 1) is not True:
            raise NotLoweredError("its padding cuts off all of its output", timed=True)
        cuts.append((before, size, extra[place]))
    return cuts


def _full(axis: Axis) -> Dim:
    """Return the elements that a transposed convolution reaches."""
    return add(multiply(add(axis.size, -1), axis.stride), axis.extent)


def pack(lowering: Lowering, name: str, taps: NDArray[Any]) -> str:
    """Store the weights ``[taps, N, K]`` of several products behind each other."""
    lowering.headers.add("edgernn_linear_f32.h")
    rows = [lowering.layout.pack_f32(np.ascontiguousarray(tap, np.float32)) for tap in taps]
    return lowering.weight(name, np.stack(rows))


def _bias(lowering: Lowering, node: onnx.NodeProto, outputs: int) -> Floats:
    if len(node.input) > 2 and node.input[2]:
        return float_constant(lowering.require_constant(node.input[2], "bias"))
    return np.zeros(outputs, np.float32)


def _two(axes: Sequence[Axis]) -> tuple[Axis, Axis]:
    return (axes[0], axes[1]) if len(axes) == 2 else (Axis(1, 1), axes[0])


def _line(x: Tensor) -> Dim:
    return multiply(x.shape[2], x.shape[3])


def _plus(address: str, offset: str) -> str:
    return address if offset == "0" else f"{address} + {offset}"


def _times(sizes: Any) -> str:
    return " x ".join(str(size) for size in sizes)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
}
