"""Values that are put off: elementwise expressions and views, so that chains become one loop.

An elementwise operator or a view operator (transpose, slice, expand …) emits nothing. It defines
its output as an expression over memory; whatever needs the elements computes all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from edgernn_exporters.codegen.dims import Shape, broadcast, signed
from edgernn_exporters.codegen.loops import materialize
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.names import printable
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import (
    as_tensor,
    inserted,
    memory_order,
    permuted,
    repeated,
    reshaped,
    row_major,
    view_of,
)
from edgernn_exporters.codegen.values import (
    C_TYPES,
    Buffer,
    Constant,
    Lazy,
    Operand,
    Symbolic,
    Tensor,
    View,
)

_LONGEST = 400
"""Characters of an expression; a longer one gets memory of its own."""

_OTHER: Shape = (-1,)
"""Stands for reading elements more than once."""

Change = Callable[[View], View | None]


def expression(
    lowering: Lowering,
    node: onnx.NodeProto,
    code: str,
    inputs: Sequence[str],
    *,
    dtype: str | None = None,
    output: str | None = None,
) -> None:
    """Define a node's output as an elementwise expression of its inputs.

    Args:
        lowering: Where to.
        node: The node.
        code: C expression with ``{0}``, ``{1}`` … for the inputs.
        inputs: Names.
        dtype: Result type; None for that of the first input.
        output: Name to define; None for the node's first output.
    """
    operands: list[Operand] = []
    texts: list[str] = []
    labels: list[str] = []
    shape = broadcast(*(lowering.shape(name) for name in inputs))
    for place, name in enumerate(inputs):
        often = code.count(f"{{{place}}}") > 1
        value = readable(lowering, name, node, _OTHER if often else shape)
        if isinstance(value, Lazy):
            places = [f"{{{len(operands) + i}}}" for i in range(len(value.operands))]
            inner = value.code.format(*places)
            texts.append(_operand(inner))
            operands.extend(value.operands)
            labels.extend(value.labels)
        else:
            texts.append(f"{{{len(operands)}}}")
            operands.append(value)
    result = dtype or lowering.value(inputs[0]).dtype
    text = code.format(*texts)
    if result not in _FULL:
        text = f"({C_TYPES[result]})({text})"
    lowering.headers |= {"edgernn_activations.h", "edgernn_elementwise.h", "edgernn_integers.h"}
    lowering.define(
        output or node.output[0],
        Lazy(text, tuple(operands), shape, result, (*dict.fromkeys(labels), label(node))),
    )


_FULL = ("float32", "float64", "int64", "uint64", "uint32")
"""Types whose C arithmetic has the same type; others are computed in ``int`` and cast back."""


def _operand(code: str) -> str:
    """Put an expression in parentheses, unless it is one call, one element or one number."""
    depth = 0
    for letter in code:
        depth += (letter in "([") - (letter in ")]")
        if letter == " " and depth == 0:
            return f"({code})"
    return code


def label(node: onnx.NodeProto) -> str:
    """Return a node's operator and name for a comment."""
    name = node.name or next(iter(node.output), "")
    return f"{printable(node.op_type)} {printable(name)}"


def readable(
    lowering: Lowering, name: str, node: onnx.NodeProto, shape: Shape | None = None
) -> Tensor | Constant | Lazy:
    """Return a value that may be read element by element, more than once if it is plain.

    Args:
        lowering: Where to.
        name: Name of the value.
        node: Its reader.
        shape: Shape in which it is read; another shape than its own repeats elements.
    """
    value = lowering.value(name)
    if isinstance(value, Symbolic):
        if len(value.values) == 1:
            return Lazy(signed(value.values[0]), (), value.shape, value.dtype)
        return lowering.tensor(name)
    if isinstance(value, Lazy) and not value.plain:
        users = lowering.consumers(name)
        alone = len(users) == 1 and list(node.input).count(name) == 1
        same = shape is None or value.shape == shape
        if not (alone and same and name not in lowering.results and len(value.code) < _LONGEST):
            return settled(lowering, name)
    return value


def settled(lowering: Lowering, name: str) -> Tensor | Lazy:
    """Compute an expression now, into memory in the order of what it reads."""
    value = lowering.value(name)
    order = _order(value) if isinstance(value, Lazy) and name not in lowering.results else None
    if order is None:
        return lowering.tensor(name)
    assert isinstance(value, Lazy)
    memory = lowering.scratch(name, tuple(value.shape[axis] for axis in order), value.dtype)
    view = permuted(view_of(memory), [order.index(axis) for axis in range(len(order))])
    materialize(lowering, value, view)
    result = Lazy("{0}", (view,), value.shape, value.dtype)
    lowering.define(name, result)
    return result


def _order(value: Lazy) -> list[int] | None:
    """Return the order of axes in which an expression's first full operand lies, if unusual."""
    for operand in value.operands:
        if isinstance(operand, View) and operand.shape == value.shape:
            order = memory_order(operand)
            return None if order == sorted(order) else order
        if isinstance(operand, Tensor) and operand.shape == value.shape:
            return None
    return None


def rewritten(
    lowering: Lowering, name: str, node: onnx.NodeProto, change: Change, *, repeats: bool = False
) -> Lazy | None:
    """Return a value seen through a change of view.

    Args:
        lowering: Where to.
        name: Name of the value.
        node: Its reader.
        change: What is done to the view.
        repeats: True if elements may be read more than once.

    Returns:
        The changed expression, or None if ``change`` returned that for one of its operands.
    """
    value = readable(lowering, name, node, _OTHER if repeats else None)
    if not isinstance(value, Lazy):
        value = Lazy("{0}", (value,), value.shape, value.dtype)
    operands: list[Operand] = []
    for operand in value.operands:
        if isinstance(operand, Constant) and operand.array.size == 1:
            operands.append(operand)
            continue
        changed = change(full_view(lowering, operand, value.shape))
        if changed is None:
            return None
        operands.append(changed)
    model = change(_dummy(value.shape))
    if model is None:
        return None
    return Lazy(value.code, tuple(operands), model.shape, value.dtype, value.labels)


def plain_view(lowering: Lowering, name: str, node: onnx.NodeProto) -> View:
    """Return memory that holds a value, at whatever strides; computed now if need be."""
    value = readable(lowering, name, node)
    if isinstance(value, Lazy):
        if value.code == "{0}" and not isinstance(value.operands[0], Constant):
            return full_view(lowering, value.operands[0], value.shape)
        settled_value = settled(lowering, name)
        if isinstance(settled_value, Lazy):
            return full_view(lowering, settled_value.operands[0], settled_value.shape)
        return view_of(settled_value)
    return full_view(lowering, value, value.shape)


_CHANNELS_LAST = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


def result_view(lowering: Lowering, name: str, shape: Shape, dtype: str) -> View:
    """Return memory for a result: channels innermost where a convolution reads it."""
    users = {node.op_type for node in lowering.consumers(name)}
    if name in lowering.results or len(shape) < 3 or not users.intersection(_CHANNELS_LAST):
        return view_of(lowering.destination(name, shape, dtype))
    order = [0, *range(2, len(shape)), 1]
    memory = lowering.scratch(name, tuple(shape[axis] for axis in order), dtype)
    return permuted(view_of(memory), [order.index(axis) for axis in range(len(shape))])


def define_view(lowering: Lowering, name: str, view: View) -> None:
    """Say that a name stands for the elements of a view."""
    tensor = as_tensor(view)
    lowering.define(name, tensor or Lazy("{0}", (view,), view.shape, view.dtype))


def full_view(lowering: Lowering, operand: Operand, shape: Shape) -> View:
    """Return an operand as a view of ``shape``."""
    if isinstance(operand, Constant):
        operand = lowering.stored("constant", operand.array)
    view = view_of(operand) if isinstance(operand, Tensor) else operand
    return view if view.shape == shape else repeated(view, shape)


def unlabelled(value: Lazy, node: onnx.NodeProto) -> Lazy:
    """Return a view with the node's name for the comment, if it has none."""
    labels = (*value.labels, label(node))
    return Lazy(value.code, value.operands, value.shape, value.dtype, labels)


def reshape_change(shape: Shape) -> Change:
    """Return the change of view that gives another shape."""
    return lambda view: reshaped(view, shape)


def unsqueeze_change(axes: Sequence[int]) -> Change:
    """Return the change of view that inserts axes of size 1, counted in the result."""

    def change(view: View) -> View:
        for axis in sorted(axes):
            view = inserted(view, axis)
        return view

    return change


def _dummy(shape: Shape) -> View:
    return View(Buffer("none", "float", 0), shape, row_major(shape))


def refuse_types(lowering: Lowering, inputs: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse other element types.

    Raises:
        NotLoweredError: An input has a type that is not in ``allowed``.
    """
    for name in inputs:
        dtype = lowering.value(name).dtype
        if dtype not in allowed:
            raise NotLoweredError(f"it takes {dtype} values")
