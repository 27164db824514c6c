"""Our convolutions and embeddings of int8, w8a16 and int4 as C.

Data are quantized channels last with their padding. For each row of outputs the windows are copied
to rows, which a linear kernel multiplies. In groups, which have few outputs each, weights are not
packed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from edgernn_exporters.codegen.dims import add, count, multiply
from edgernn_exporters.codegen.integer_products import FORMS, Form
from edgernn_exporters.codegen.loops import scoped
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.windows import (
    Axis,
    channels_first,
    channels_last,
    open_axes,
    sum_of,
    variables,
)
from edgernn_exporters.codegen.products import c_call
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor


def conv(lowering: Lowering, node: onnx.NodeProto) -> None:
    """``ConvInt8``, ``ConvW8A16``, ``ConvInt4 (x, xc, xi, w, wm, wb) -> y``."""
    _, xc, xi, w, wm, wb = node.input
    form = FORMS[node.op_type.removeprefix("Conv")]
    weight = form.values(lowering.require_constant(w, "weight"))
    axes = open_axes(lowering, node, weight.shape[2:])
    rows, columns = axes if len(axes) == 2 else (Axis(1, 1), axes[0])
    group = int(attributes_of(node).get("group", 1))
    outputs, inner = weight.shape[:2]
    x = channels_last(lowering, node, axes)
    if inner * group != x.shape[-1] or outputs % group:
        raise NotLoweredError(f"it has weights for {inner} x {group} channels")
    bias, scale = (
        lowering.weight(name, float_constant(lowering.require_constant(name, "scale")).reshape(-1))
        for name in (wb, wm)
    )
    q = _quantized(lowering, form, x, xc, xi)
    taps = np.moveaxis(weight, 1, -1).reshape(outputs, -1)
    k = int(taps.shape[1])
    windows = form.memory(lowering, columns.out, k)
    depth = form.depth(lowering.layout, k)
    y = lowering.scratch(node.output[0], (x.shape[0], rows.out, columns.out, outputs))
    names, sizes = variables([x.shape[0], rows.out, group])
    batch, row, g = names
    line = multiply(x.shape[2], x.shape[3])
    start = sum_of(
        [batch, row], [multiply(x.shape[1], line), multiply(line, rows.stride)], 1, g, inner
    )
    to = sum_of(
        [batch, row], [multiply(rows.out, columns.out), columns.out], outputs, g, outputs // group
    )
    channels = inner * group
    window = ", ".join(map(str, (
        rows.kernel, multiply(line, rows.dilation), columns.kernel, columns.dilation * channels,
        inner, columns.stride * channels,
    )))  # fmt: skip
    lowering.headers.add("edgernn_conv_integer.h")
    kind = _kind(form)
    lines = [
        f"const edgernn_window window = {{{window}}};",
        c_call(f"edgernn_windows_{kind}", windows.c, depth, q.c, start, "window", columns.out),
    ]
    address = y.c if to == "0" else f"{y.c} + {to}"
    if group == 1:
        operands = form.operands(lowering, w, taps)
        lines.append(c_call(form.kernel, address, outputs, bias, 0, windows.c, depth, *operands,
                            scale, columns.out, outputs, k))  # fmt: skip
    else:
        each, stored = outputs // group, lowering.weight(w, taps)
        lines.append(c_call(
            f"edgernn_linear_plain_{kind}", address, outputs, f"{bias} + {g} * {each}", windows.c,
            depth, f"{stored} + {g} * {each * k}", f"{scale} + {g} * {each}", columns.out, each, k,
        ))  # fmt: skip
    memory = [q, windows]
    lowering.emit(
        f"{lowering.comment(node)}\n{scoped(sizes, chr(10).join(lines))}",
        reads=memory,
        writes=[y, windows],
    )
    lowering.count_macs(multiply(count(y.shape), k))
    channels_first(lowering, node.output[0], y, len(axes))


def _quantized(lowering: Lowering, form: Form, x: Tensor, xc: str, xi: str) -> Tensor:
    """Emit the quantization of all of ``x``."""
    names = [
        lowering.weight(name, float_constant(lowering.require_constant(name, "input scale")))
        for name in (xc, xi)
    ]
    dtype = "int16" if form.input_bits == 16 or lowering.layout.i8_wide else "int8"
    size = count(x.shape)
    q = lowering.scratch("q", (add(size, 4),), dtype)  # bytes may be stored in fours
    suffix = "_i16" if form.input_bits == 16 else ""
    lowering.headers.add("edgernn_quantize_static.h")
    call = c_call(f"edgernn_quantize_static{suffix}", q.c, x.c, *names, 0, size, size)
    lowering.emit(call, reads=[x], writes=[q])
    return q


def _kind(form: Form) -> str:
    return "i16" if form.input_bits == 16 else "i8"


def embedding(lowering: Lowering, node: onnx.NodeProto) -> None:
    """``EmbeddingInt8``, ``EmbeddingInt4 (ids, w, ws) -> y``: rows of a table."""
    form = FORMS[node.op_type.removeprefix("Embedding")]
    table = form.values(lowering.require_constant(node.input[1], "table"))
    scale = float_constant(lowering.require_constant(node.input[2], "scale"))
    ids = lowering.tensor(node.input[0])
    if ids.dtype != "int64":
        raise NotLoweredError(f"its ids are {ids.dtype}, not int64")
    rows, width = (int(size) for size in table.shape)
    packed = table if form.weight_bits == 8 else _in_twos(table)
    stored = lowering.weight(node.input[1], packed)
    scales = lowering.weight(node.input[2], scale.reshape(-1))
    y = lowering.destination(node.output[0], (*ids.shape, width))
    lowering.headers.add("edgernn_embedding.h")
    call = c_call(f"edgernn_embedding_i{form.weight_bits}", y.c, ids.c, stored, scales,
                  ids.size, rows, width)  # fmt: skip
    lowering.emit(f"{lowering.comment(node)}\n{call}", reads=[ids], writes=[y])
    lowering.define(node.output[0], y)


def _in_twos(table: np.ndarray) -> np.ndarray:
    padded = np.pad(table, ((0, 0), (0, table.shape[1] % 2))) + 8
    return np.ascontiguousarray(padded[:, 0::2] | padded[:, 1::2] << 4).astype(np.uint8)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    **{f"Conv{suffix}": conv for suffix in FORMS},
    **{f"Embedding{suffix}": embedding for suffix in FORMS if suffix != "W8A16"},
}
