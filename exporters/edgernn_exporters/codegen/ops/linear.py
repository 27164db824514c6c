"""Gemm, MatMul and our 8-bit linear layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, Shape, at, broadcast, count, multiply
from edgernn_exporters.codegen.expressions import define_view, expression, plain_view
from edgernn_exporters.codegen.integer_products import FORMS, dynamic_product, input_product
from edgernn_exporters.codegen.loops import materialize, merged, view_loops
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.elementwise import number_of
from edgernn_exporters.codegen.ops.normalization import following_scale
from edgernn_exporters.codegen.products import Product, Rows, float_product
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import inserted, permuted, repeated, row_major, view_of
from edgernn_exporters.codegen.values import Lazy, Tensor, View

Floats = NDArray[np.float32]

_MANY_ROWS, _MANY_STEPS = 8, 997
"""From so many rows on, columns of the other matrix are copied to rows first."""


def matmul(lowering: Lowering, node: onnx.NodeProto) -> None:
    """MatMul; with constant weights the ``Add`` of a bias behind it is taken in."""
    left, right = (lowering.constant(name) for name in node.input)
    if right is not None and right.ndim == 2:
        output, bias = _following_bias(lowering, node.output[0], right.shape[1])
        x = plain_view(lowering, node.input[0], node)
        _linear(lowering, node, float_constant(right).T, x, bias, output)
    elif left is not None and left.ndim == 2 and len(lowering.shape(node.input[1])) > 1:
        x = plain_view(lowering, node.input[1], node)
        axes = list(range(len(x.shape)))
        axes[-2:] = axes[:-3:-1]
        made = _linear(lowering, node, float_constant(left), permuted(x, axes), None, None)
        define_view(lowering, node.output[0], permuted(view_of(made), axes))
    else:
        a, b = (plain_view(lowering, name, node) for name in node.input)
        lowering.define(node.output[0], _product(lowering, node, a, b, node.output[0]))


def gemm(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Gemm; with constant weights alpha and beta are multiplied into them."""
    attributes = attributes_of(node)
    alpha, beta = (np.float32(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    x = plain_view(lowering, node.input[0], node)
    if attributes.get("transA", 0):
        x = permuted(x, [1, 0])
    name = node.input[2] if len(node.input) > 2 else ""
    weight = lowering.constant(node.input[1])
    if weight is None:
        b = plain_view(lowering, node.input[1], node)
        b = permuted(b, [1, 0]) if attributes.get("transB", 0) else b
        key = f"{node.output[0]} product" if name or alpha != 1 else node.output[0]
        lowering.define(key, _product(lowering, node, x, b, key))
        if key != node.output[0]:
            code = f"{number_of(alpha)} * {{0}}" + (f" + {number_of(beta)} * {{1}}" if name else "")
            expression(lowering, node, code, [key, name] if name else [key])
        return
    rows = float_constant(weight)
    rows = (rows if attributes.get("transB", 0) else rows.T) * alpha
    given = lowering.constant(name) if name else np.zeros((), np.float32)
    if given is not None and given.size in (1, rows.shape[0]) and given.shape[:-1] in ((), (1,)):
        bias = np.broadcast_to(float_constant(given).reshape(-1), (rows.shape[0],)) * beta
        output, scale, shift = following_scale(lowering, node.output[0], rows.shape[0])
        rows, bias = rows * scale[:, None], bias * scale + shift
        _linear(lowering, node, rows, x, bias, output)
        return
    key = f"{node.output[0]} product"
    _linear(lowering, node, rows, x, None, key)
    expression(lowering, node, f"{{0}} + {number_of(beta)} * {{1}}", [key, name])


def row_product(lowering: Lowering, node: onnx.NodeProto, x: View) -> str | None:
    """Emit a MatMul or Gemm with constant weights for other rows than those that it names.

    Args:
        lowering: Where to.
        node: The node; its first input is one matrix of ``x``.
        x: Rows ``[..., K]``, with any number of axes in front.

    Returns:
        The name that is computed (that of an Add behind the node, if it was taken in), or None if
        the weights are not constants.
    """
    if not _multiplies_rows(lowering, node):
        return None
    before = lowering.value(node.input[0])
    lowering.define(node.input[0], Lazy("{0}", (x,), x.shape, x.dtype))
    try:
        with lowering.trial():
            (matmul if node.op_type == "MatMul" else gemm)(lowering, node)
    except NotLoweredError:  # it is refused when its turn comes
        return None
    finally:
        lowering.define(node.input[0], before)
    add = lowering.sole_consumer(node.output[0], "Add")
    name: str = (add if add and lowering.is_skipped(add) else node).output[0]
    return name


def _multiplies_rows(lowering: Lowering, node: onnx.NodeProto) -> bool:
    """Tell whether a node multiplies each row of its first input by constants, and adds a row."""
    weight = lowering.constant(node.input[1])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return False
    if node.op_type == "MatMul":
        return lowering.constant(node.input[0]) is None
    bias = node.input[2] if len(node.input) > 2 else ""
    given = lowering.constant(bias) if bias and lowering.known(bias) else None
    n = weight.shape[0 if attributes_of(node).get("transB", 0) else 1]
    constant = not bias or (given is not None and given.size in (1, n))
    return constant and not attributes_of(node).get("transA", 0)


def linear_int8(lowering: Lowering, node: onnx.NodeProto) -> None:
    """``LinearInt8Dynamic (x, w, ws, wb) -> y`` (docs/numerics.md)."""
    x, w, ws, wb = node.input
    values = lowering.require_constant(w, "weight")
    scale = float_constant(lowering.require_constant(ws, "scale"))
    m = count(lowering.shape(x)[:-1])
    product = dynamic_product(lowering, w, values, scale, m, bounded=False)
    _emit_with_bias(lowering, node, product, x, wb)


def linear_integer(lowering: Lowering, node: onnx.NodeProto) -> None:
    """``LinearInt8``, ``LinearW8A16``, ``LinearInt4 (x, xc, xi, w, wm, wb) -> y``."""
    x, xc, xi, w, wm, wb = node.input
    m = count(lowering.shape(x)[:-1])
    form = FORMS[node.op_type.removeprefix("Linear")]
    _emit_with_bias(lowering, node, input_product(lowering, form, (xc, xi, w, wm), m), x, wb)


def _emit_with_bias(
    lowering: Lowering, node: onnx.NodeProto, product: Product, x: str, bias: str
) -> None:
    stored = lowering.weight(bias, float_constant(lowering.require_constant(bias, "bias")))
    made = _emit(lowering, node, product, plain_view(lowering, x, node), stored, node.output[0])
    lowering.define(node.output[0], made)


def matmul_integer(lowering: Lowering, node: onnx.NodeProto) -> None:
    """MatMulInteger with one zero point for each side."""
    views = []
    for place in (0, 1):
        name = node.input[place]
        zero = node.input[place + 2] if len(node.input) > place + 2 else ""
        if zero and count(lowering.shape(zero)) != 1:
            raise NotLoweredError("its zero point is not one number")
        key = f"{name} wide {node.output[0]} {place}"
        code = "(int32_t){0} - (int32_t){1}" if zero else "(int32_t){0}"
        names = [name, zero] if zero else [name]
        expression(lowering, node, code, names, dtype="int32", output=key)
        made = lowering.value(key)
        assert isinstance(made, Lazy)
        lowering.define(key, replace(made, shape=lowering.shape(name)))
        views.append(view_of(lowering.tensor(key)))
    made = _product(lowering, node, views[0], views[1], node.output[0])
    lowering.define(node.output[0], made)


def _following_bias(lowering: Lowering, output: str, size: int) -> tuple[str, Floats | None]:
    """Take in the ``Add`` of a constant row; return what it computes, and the row."""
    add = lowering.sole_consumer(output, "Add")
    if add is None or add.input[0] == add.input[1]:
        return output, None
    other = add.input[1] if add.input[0] == output else add.input[0]
    bias = lowering.constant(other) if lowering.known(other) else None
    if bias is None or bias.shape != (size,) or bias.dtype != np.float32:
        return output, None
    lowering.skip(add)
    return add.output[0], bias


def _linear(
    lowering: Lowering,
    node: onnx.NodeProto,
    rows: NDArray[Any],
    x: View,
    bias: NDArray[Any] | None,
    output: str | None,
) -> Tensor:
    """Emit ``y = x rows^T + bias``; without ``output`` the result has no name yet."""
    key = next((name for name in node.input if lowering.constant(name) is not None), "weight")
    product = float_product(lowering, key, np.ascontiguousarray(rows, np.float32))
    stored = None
    if bias is not None and bias.any():
        stored = lowering.weight(f"{key}_bias", np.ascontiguousarray(bias, np.float32))
    made = _emit(lowering, node, product, x, stored, output or "")
    if output is not None:
        lowering.define(output, made)
    return made


def _emit(
    lowering: Lowering,
    node: onnx.NodeProto,
    product: Product,
    x: View,
    bias: str | None,
    output: str,
) -> Tensor:
    if x.dtype != "float32" or x.shape[-1] != product.k:
        raise NotLoweredError(
            f"it multiplies {x.shape[-1]} {x.dtype} features by {product.k} weights"
        )
    rows = _rows(x)
    if rows is None:
        x = _copied(lowering, x)
        rows = Rows(x.buffer.name, product.k)
    shape = (*x.shape[:-1], product.n)
    m = count(x.shape[:-1])
    if output:
        y = lowering.destination(output, shape)
    else:
        y = lowering.scratch(f"{node.output[0]}_rows", shape)
    call = product.call(Rows(y.c, product.n), Rows(bias, 0) if bias else None, rows, m)
    lowering.emit(
        f"{lowering.comment(node)}\n{call}",
        reads=[x, *product.scratch()],
        writes=[y, *product.scratch()],
    )
    lowering.count_macs(multiply(multiply(m, product.n), product.k))
    return y


def _copied(lowering: Lowering, view: View) -> View:
    """Copy a view to contiguous memory."""
    copy = lowering.scratch(f"{view.buffer.name}_rows", view.shape, view.dtype)
    materialize(lowering, Lazy("{0}", (view,), view.shape, view.dtype), copy)
    return view_of(copy)


def _rows(x: View) -> Rows | None:
    """Return how to address the last axis as contiguous rows, or None if it cannot be."""
    if x.strides[-1] != 1 and x.shape[-1] != 1:
        return None
    sizes, strides = merged(x.shape[:-1], [x.strides[:-1]])
    if len(sizes) > 1 or (sizes and at(strides[0][0], 1) < 0):
        return None
    address = x.buffer.name if x.offset == 0 else f"{x.buffer.name} + {x.offset}"
    return Rows(address, strides[0][0] if sizes else x.shape[-1])


def _product(lowering: Lowering, node: onnx.NodeProto, a: View, b: View, output: str) -> Tensor:
    """Multiply two values of which the second is not a constant matrix, with broadcasting."""
    kinds = {"float32": "f32", "int32": "i32"}
    if a.dtype != b.dtype or a.dtype not in kinds:
        raise NotLoweredError(f"it multiplies {a.dtype} by {b.dtype}")
    wide_a = inserted(a, 0) if len(a.shape) == 1 else a
    wide_b = inserted(b, 1) if len(b.shape) == 1 else b
    outer = broadcast(wide_a.shape[:-2], wide_b.shape[:-2])
    m, k, n = wide_a.shape[-2], wide_a.shape[-1], wide_b.shape[-1]
    if wide_b.shape[-2] != k:
        raise NotLoweredError(f"it multiplies {k} columns by {wide_b.shape[-2]} rows", timed=True)
    if len(b.shape) > 1 and b.strides[-1] != 1 and at(m, _MANY_STEPS) >= _MANY_ROWS:
        b = wide_b = _copied(lowering, wide_b)
    if any(at(stride, 1) < 0 for view in (wide_a, wide_b) for stride in view.strides):
        raise NotLoweredError("it multiplies what a slice has reversed")
    shape = outer
    shape += () if len(a.shape) == 1 else (m,)
    shape += () if len(b.shape) == 1 else (n,)
    y = lowering.destination(output, shape, a.dtype)
    target = View(y.buffer, outer, row_major((*outer, m, n))[:-2], a.dtype, y.offset)
    places = [target, *(_outer(view, outer) for view in (wide_a, wide_b))]
    strides = [f"{view.strides[-2]}, {view.strides[-1]}" for view in (wide_a, wide_b)]
    body = (
        f"edgernn_matmul_{kinds[a.dtype]}({y.buffer.name} + {{0}}, {a.buffer.name} + {{1}}, "
        f"{strides[0]}, {b.buffer.name} + {{2}}, {strides[1]}, {m}, {n}, {k});"
    )
    lowering.headers.add("edgernn_matmul.h")
    lowering.emit(f"{lowering.comment(node)}\n{view_loops(places, body)}", reads=[a, b], writes=[y])
    lowering.count_macs(_macs(outer, m, k, n))
    return y


def _outer(view: View, outer: Shape) -> View:
    """Return a batch of matrices as a view of their first elements."""
    heads = replace(view, shape=view.shape[:-2], strides=view.strides[:-2])
    return repeated(heads, outer)


def _macs(outer: Shape, m: Dim, k: Dim, n: Dim) -> int:
    product = 1
    for size in (*outer, m, k, n):
        product *= at(size, 1)
    return product


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "MatMulInteger": matmul_integer,
}
