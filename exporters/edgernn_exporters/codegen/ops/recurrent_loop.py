"""The time loop of a recurrent layer in C, for every cell, float or integer.

A layer's input products of all time steps of a call are computed at once. Then the loop over time
adds the recurrent product of one step and updates the state in place:

    pre[t, b] = W x[t, b] + bias            all rows in one call
    a = pre[t, b] + R h                     one call for the batch
    h, c <- gates(a)                        one call for each row of the batch
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgernn_exporters.codegen.dims import Dim, multiply
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.products import Product, Rows
from edgernn_exporters.codegen.values import Tensor


@dataclass(frozen=True)
class Geometry:
    """Sizes of a layer, and where its rows lie.

    Attributes:
        time: Steps T.
        batch: Rows B.
        hidden: Units H.
        gates: Gates G in the input product.
        directions: D.
        batch_first: True for ``layout=1``.
    """

    time: Dim
    batch: int
    hidden: int
    gates: int
    directions: int
    batch_first: bool

    @property
    def width(self) -> int:
        """Columns of the input product."""
        return self.gates * self.hidden

    def row(self, step: str, row: str) -> str:
        """C expression of the row of x and of the input product, for a step and a batch row."""
        if self.batch == 1:
            return step
        if self.batch_first:
            return f"({row} * ({self.time}) + {step})"
        return f"({step} * {self.batch} + {row})"

    def row_stride(self) -> Dim:
        """Rows from one batch row to the next."""
        return self.time if self.batch_first else 1

    def state(self, direction: int) -> tuple[int, int]:
        """Offset of a direction in the state, and stride from one batch row to the next."""
        if self.batch_first:
            return direction * self.hidden, self.directions * self.hidden
        return direction * self.batch * self.hidden, self.hidden

    def output(self, step: str, direction: int, row: str) -> str:
        """C expression of the offset in Y ``[T, D, B, H]`` (``[B, T, D, H]`` with layout 1)."""
        place = step
        if self.batch_first and self.batch > 1:
            place = f"({row} * ({self.time}) + {step})"
        if self.directions > 1:
            place = f"({place} * {self.directions} + {direction})"
        if not self.batch_first and self.batch > 1:
            place = f"({place} * {self.batch} + {row})"
        return f"{place} * {self.hidden}"


Update = Callable[[str, str, str], str]
"""``update(h, c, a)``: C statements that turn pre-activations at ``a`` into the next state."""


@dataclass(frozen=True)
class Cell:
    """What is special about a kind of cell.

    Attributes:
        products: ``products(a, h, m)``: statements of the recurrent products; a and h are rows.
        update: Statements for one batch row, from C expressions of the addresses of its h, c
            and pre-activations and the batch row's number.
        memory: Scratch tensors that both use.
        output: ``output(y, h)``: statement that writes the layer's float output from a state.
        c_type: C type of a state's elements.
    """

    products: Callable[[Rows, Rows, int], str]
    update: Callable[[str, str, str, str], str]
    memory: tuple[Tensor, ...]
    output: Callable[[str, str], str]
    c_type: str = "float"


@dataclass(frozen=True)
class Direction:
    """One direction of a layer, ready to be emitted."""

    number: int
    reverse: bool
    input_product: Product
    bias: str | None
    cell: Cell


@dataclass(frozen=True)
class Layer:
    """Operands of a layer.

    Attributes:
        title: C comment.
        x: Input ``[T, B, I]`` (``[B, T, I]`` with layout 1).
        y: All outputs, or None if nobody reads them.
        h: State, updated in place.
        c: Cell state of an LSTM, likewise.
        pre: Scratch ``[T * B, G * H]``.
        lengths: int32 ``[B]``: steps of each batch row, or None for all.
    """

    title: str
    x: Tensor
    y: Tensor | None
    h: Tensor
    c: Tensor | None
    pre: Tensor
    lengths: Tensor | None


def emit_layer(
    lowering: Lowering, geometry: Geometry, layer: Layer, directions: list[Direction]
) -> None:
    """Emit all directions of a layer."""
    g = geometry
    lines = [layer.title]
    if layer.lengths is not None and layer.y is not None:
        lines.append(f"memset({layer.y.c}, 0, (size_t)({layer.y.size}) * sizeof(*{layer.y.c}));")
    memory: list[Tensor] = [layer.pre]
    rows = multiply(g.time, g.batch)
    for direction in directions:
        product = direction.input_product
        bias = Rows(direction.bias, 0) if direction.bias else None
        lines.append(
            product.call(Rows(layer.pre.c, g.width), bias, Rows(layer.x.c, product.k), rows)
        )
        loop = _batch_loop if layer.lengths is None else _length_loop
        lines.append(loop(g, layer, direction))
        memory += [*product.scratch(), *direction.cell.memory]
        macs = multiply(rows, g.width * product.k)
        lowering.count_macs(macs)
        lowering.count_macs(multiply(rows, g.width * g.hidden))
    states = [layer.h] if layer.c is None else [layer.h, layer.c]
    outputs = [] if layer.y is None else [layer.y]
    lengths = [] if layer.lengths is None else [layer.lengths]
    lowering.emit(
        "\n".join(lines),
        reads=[layer.x, *states, *memory, *lengths],
        writes=[*outputs, *states, *memory],
    )


def _batch_loop(g: Geometry, layer: Layer, direction: Direction) -> str:
    """Advance the whole batch step by step."""
    offset, stride = g.state(direction.number)
    kind = direction.cell.c_type
    step = f"(({g.time}) - 1 - s)" if direction.reverse else "s"
    lines = [f"for (size_t s = 0; s < {g.time}; ++s) {{"]
    start = f"{layer.pre.c} + {g.row(step, '0')} * {g.width}"
    body = [f"float *const a = {start};", f"{kind} *const h = {_shifted(layer.h.c, offset)};"]
    if layer.c is not None:
        body.append(f"{kind} *const c = {_shifted(layer.c.c, offset)};")
    a_stride = multiply(g.row_stride(), g.width)
    body.append(direction.cell.products(Rows("a", a_stride), Rows("h", stride), g.batch))
    if g.batch == 1:
        body.append(direction.cell.update("h", "c", "a", "0"))
        body.append(_store(g, layer, direction, step, "0", "h"))
    else:
        c = f"c + b * {stride}"
        inner = direction.cell.update(f"h + b * {stride}", c, f"a + b * ({a_stride})", "b")
        store = _store(g, layer, direction, step, "b", f"h + b * {stride}")
        body.append(f"for (size_t b = 0; b < {g.batch}; ++b) {{\n{_indent(inner, store)}\n}}")
    return "\n".join([*lines, _indent(*body), "}"])


def _length_loop(g: Geometry, layer: Layer, direction: Direction) -> str:
    """Advance each row of the batch for its own number of steps."""
    assert layer.lengths is not None
    offset, stride = g.state(direction.number)
    kind = direction.cell.c_type
    step = "(steps_b - 1 - s)" if direction.reverse else "s"
    body = [
        f"float *const a = {layer.pre.c} + {g.row(step, 'b')} * {g.width};",
        direction.cell.products(Rows("a", g.width), Rows("h", g.hidden), 1),
        direction.cell.update("h", "c", "a", "0"),
        _store(g, layer, direction, step, "b", "h"),
    ]
    cell = [f"{kind} *const c = {layer.c.c} + {offset} + b * {stride};"] if layer.c else []
    head = [
        f"const int32_t given = {layer.lengths.c}[b];",
        f"const size_t most = (size_t)({g.time});",
        "const size_t steps_b = given < 0 ? 0 : (size_t)given > most ? most : (size_t)given;",
        f"{kind} *const h = {layer.h.c} + {offset} + b * {stride};",
        *cell,
    ]
    names = ["h"] if layer.c is None else ["h", "c"]
    clear = [f"memset({name}, 0, {g.hidden} * sizeof({kind}));" for name in names]
    head += ["if (steps_b == 0) {", _indent(*clear), "}"]  # as ONNX Runtime does
    return "\n".join([
        f"for (size_t b = 0; b < {g.batch}; ++b) {{",
        _indent(*head, "for (size_t s = 0; s < steps_b; ++s) {", _indent(*body), "}"),
        "}",
    ])  # fmt: skip


def _store(
    g: Geometry, layer: Layer, direction: Direction, step: str, row: str, source: str
) -> str:
    if layer.y is None:
        return ""
    place = g.output(step, direction.number, row)
    return direction.cell.output(f"{layer.y.c} + {place}", source)


def _shifted(address: str, offset: int) -> str:
    return f"{address} + {offset}" if offset else address


def _indent(*blocks: str) -> str:
    lines = [line for block in blocks for line in block.splitlines() if line]
    return "\n".join("    " + line for line in lines)
