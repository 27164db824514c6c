"""Emit loops over arrays: elementwise expressions with broadcasting, and strided copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgernn_exporters.codegen.dims import Dim, Shape, at, multiply
from edgernn_exporters.codegen.strided import memory_order, permuted, repeated, row_major, view_of
from edgernn_exporters.codegen.values import Constant, Lazy, Tensor, View

if TYPE_CHECKING:
    from edgernn_exporters.codegen.lowering import Lowering

Strides = tuple[Dim, ...]

__all__ = [
    "broadcast_strides",
    "c_number",
    "elements",
    "indented",
    "index",
    "literal",
    "loop_nest",
    "loops",
    "materialize",
    "merged",
    "permute_copy",
    "row_major",
    "scoped", "view_loops",
]  # fmt: skip


def broadcast_strides(shape: Shape, target: Shape) -> Strides:
    """Return strides that read ``shape`` as if it had the shape ``target``."""
    full: Shape = (1,) * (len(target) - len(shape)) + tuple(shape)
    return tuple(
        0 if size == 1 else stride for size, stride in zip(full, row_major(full), strict=True)
    )


def loop_nest(shape: Shape, operands: Sequence[Strides], body: str) -> str:
    """Emit nested loops over ``shape``.

    Args:
        shape: Sizes.
        operands: Strides of each array that the body indexes.
        body: Statements with ``{0}``, ``{1}`` … for the index of each operand; other braces
            doubled.

    Returns:
        C statements; axes that all operands walk alike are merged.
    """
    sizes, strides = merged(shape, operands)
    return loops(sizes, body.format(*(index(row) for row in strides)))


def view_loops(views: Sequence[View], body: str) -> str:
    """Emit nested loops over views of one shape, in the order in which the first one lies.

    Args:
        views: What the body indexes.
        body: As for `loop_nest`.
    """
    order = memory_order(views[0])
    views = [permuted(view, order) for view in views]
    sizes, strides = merged(views[0].shape, [view.strides for view in views])
    texts = [index(row, view.offset) for row, view in zip(strides, views, strict=True)]
    return loops(sizes, body.format(*texts))


@dataclass(frozen=True)
class Nest:
    """Loops over some axes around loops over the others.

    Attributes:
        outer: Sizes of the outer loops, with the variables ``i0``, ``i1`` …
        inner: Sizes of the inner loops, with the variables ``j0``, ``j1`` …
        indices: Index of each view inside both.
        starts: The same where all inner variables are 0.
    """

    outer: list[Dim]
    inner: list[Dim]
    indices: list[str]
    starts: list[str]


def nested(views: Sequence[View], inner: Sequence[int]) -> Nest:
    """Plan loops over views of one shape, with the axes ``inner`` innermost, in that order."""
    outer = [axis for axis in memory_order(views[0]) if axis not in inner]
    parts = []
    for axes in (outer, inner):
        turned = [permuted(view, axes) for view in views]
        parts.append(merged(turned[0].shape, [view.strides for view in turned]))
    (outer_sizes, outer_strides), (inner_sizes, inner_strides) = parts
    indices, starts = [], []
    for view, row, column in zip(views, outer_strides, inner_strides, strict=True):
        text = index(column, 0, "j")
        start = index(row, view.offset)
        joined = f"{start} + {text}" if not text.startswith("0 -") else f"{start}{text[1:]}"
        indices.append(start if text == "0" else text if start == "0" else joined)
        starts.append(start)
    return Nest(outer_sizes, inner_sizes, indices, starts)


def scoped(sizes: Sequence[Dim], body: str) -> str:
    """Wrap a body that declares variables in loops, or at least in braces."""
    return loops(sizes, body) if sizes else f"{{\n{indented(body)}\n}}"


def loops(sizes: Sequence[Dim], body: str, letter: str = "i") -> str:
    """Wrap a body in loops with the variables ``i0``, ``i1`` …; nothing if a size is 0."""
    if 0 in sizes:
        return ""
    lines = []
    for axis, size in enumerate(sizes):
        name = f"{letter}{axis}"
        lines.append("    " * axis + f"for (size_t {name} = 0; {name} < {size}; ++{name}) {{")
    lines.append(indented(body, len(sizes)))
    lines.extend("    " * axis + "}" for axis in reversed(range(len(sizes))))
    return "\n".join(lines)


def indented(text: str, levels: int = 1) -> str:
    """Indent every line."""
    return "\n".join(f"{'    ' * levels}{line}" if line else "" for line in text.splitlines())


def elements(lowering: Lowering, value: Lazy, first: int = 0) -> tuple[str, list[View]]:
    """Return an expression's C text and what it reads.

    Args:
        lowering: Where constants are stored.
        value: The expression.
        first: Number of the first placeholder.

    Returns:
        C expression with ``{first}``, ``{first + 1}`` … for indices into the views, each of
        which has the expression's shape.
    """
    views: list[View] = []
    texts: list[str] = []
    for operand in value.operands:
        if isinstance(operand, Constant):
            if operand.array.size == 1:
                texts.append(c_number(operand))
                continue
            view = view_of(lowering.stored("constant", operand.array))
        else:
            view = view_of(operand) if isinstance(operand, Tensor) else operand
        texts.append(f"{view.buffer.name}[{{{first + len(views)}}}]")
        views.append(repeated(view, value.shape))
    return value.code.format(*texts), views


def materialize(lowering: Lowering, value: Lazy, target: Tensor | View) -> None:
    """Emit the loops that compute an elementwise expression into ``target``."""
    into = view_of(target) if isinstance(target, Tensor) else target
    expression, views = elements(lowering, value, 1)
    code = _block_copy(into, views[0]) if value.code == "{0}" and len(views) == 1 else None
    if code is None:
        if value.dtype in _NARROW and value.code != "{0}":
            expression = f"({into.buffer.c_type})({expression})"
        code = view_loops([into, *views], f"{into.buffer.name}[{{0}}] = {expression};")
    if code:
        lowering.emit(value.comment + code, reads=views, writes=[into])


def permute_copy(source: Tensor, target: Tensor, permutation: Sequence[int]) -> str:
    """Emit a transpose: axis ``i`` of the target is axis ``permutation[i]`` of the source."""
    views = [view_of(target), permuted(view_of(source), permutation)]
    return view_loops(views, f"{target.buffer.name}[{{0}}] = {source.buffer.name}[{{1}}];")


def merged(shape: Shape, operands: Sequence[Strides]) -> tuple[list[Dim], list[list[Dim]]]:
    """Merge axes that all operands walk alike, and drop those of size 1."""
    sizes: list[Dim] = []
    strides: list[list[Dim]] = [[] for _ in operands]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        inner = [operand[axis] for operand in operands]
        mergeable = bool(sizes) and all(
            row[-1] == 0 == stride
            or (not _timed(stride, size) and row[-1] == multiply(stride, size))
            for row, stride in zip(strides, inner, strict=True)
        )
        if mergeable and not _timed(sizes[-1], size):
            sizes[-1] = multiply(sizes[-1], size)
            for row, stride in zip(strides, inner, strict=True):
                row[-1] = stride
        else:
            sizes.append(size)
            for row, stride in zip(strides, inner, strict=True):
                row.append(stride)
    return sizes, strides


def index(strides: Sequence[Dim], offset: Dim = 0, letter: str = "i") -> str:
    """Return the C expression of an element's index from the loop variables."""
    text = "" if offset == 0 else str(offset)
    for axis, stride in enumerate(strides):
        if stride == 0:
            continue
        below = at(stride, 1) < 0
        size = multiply(-1, stride) if below else stride
        term = f"{letter}{axis}" if size == 1 else f"{letter}{axis} * {_factor(size)}"
        sign = " - " if below else " + "
        text = f"{text or '0'}{sign}{term}" if text or below else term
    return text or "0"


def c_number(constant: Constant) -> str:
    """Render a constant of one element as a C literal."""
    return literal(constant.array.reshape(-1)[0], constant.dtype)


def literal(value: object, dtype: str) -> str:
    """Render one number as a C literal of its type.

    Example:
        >>> literal(0.5, "float32")
        '0.5f'
    """
    if dtype in ("float32", "float64"):
        number = float(value)  # type: ignore[arg-type]
        suffix = "f" if dtype == "float32" else ""
        if number != number:
            return f"(0.0{suffix} / 0.0{suffix})"
        if number in (float("inf"), float("-inf")):
            return f"({'-' if number < 0 else ''}1.0{suffix} / 0.0{suffix})"
        text = f"{number:.9g}" if dtype == "float32" else f"{number:.17g}"
        return (text if any(mark in text for mark in ".en") else f"{text}.0") + suffix
    whole = int(value)  # type: ignore[call-overload]
    if dtype == "int64":
        return "INT64_MIN" if whole == -(2**63) else f"INT64_C({whole})"
    if dtype == "int32":
        return "INT32_MIN" if whole == -(2**31) else str(whole)
    return f"{whole}u" if dtype == "uint64" else str(whole)


_NARROW = ("bool", "int8", "uint8", "int16", "uint16")


def _block_copy(into: View, source: View) -> str | None:
    """Return a memcpy if both lie alike in one piece."""
    order = memory_order(into)
    pair = [permuted(into, order), permuted(source, order)]
    sizes, strides = merged(pair[0].shape, [view.strides for view in pair])
    if len(sizes) > 1 or any(row != [1] for row in strides if row) or 0 in sizes:
        return None
    addresses = [
        view.buffer.name if view.offset == 0 else f"{view.buffer.name} + {view.offset}"
        for view in pair
    ]
    size = f"(size_t)({sizes[0]}) * " if sizes else ""
    return f"memcpy({addresses[0]}, {addresses[1]}, {size}sizeof({into.buffer.c_type}));"


def _timed(a: Dim, b: Dim) -> bool:
    return not isinstance(a, int) and not isinstance(b, int)


def _factor(stride: Dim) -> str:
    text = str(stride)
    return f"({text})" if "*" in text and not text.startswith("(") else text
