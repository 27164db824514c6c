"""Products with integer weights: of int8-dynamic, and of int8, w8a16 and int4.

They differ in how weights are stored and multiplied (`Form`) and in how inputs become integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, multiply
from edgernn_exporters.codegen.layouts import Layout
from edgernn_exporters.codegen.loops import indented
from edgernn_exporters.codegen.lowering import Lowering, float_constant
from edgernn_exporters.codegen.products import Rows, c_call
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor

UNIT = np.float32(1) / np.float32(127)
"""Scale of a hidden state in [-1, 1] as 8-bit input of int8-dynamic (docs/numerics.md)."""


@dataclass(frozen=True)
class Form:
    """How the weights of a precision are stored and multiplied.

    Attributes:
        kernel: C function of the product; its header has the same name.
        weight_bits: 8 or 4.
        input_bits: 8 or 16.
    """

    kernel: str
    weight_bits: int
    input_bits: int

    def values(self, stored: NDArray[Any]) -> NDArray[np.int8]:
        """Return signed weights from those of a file, which lie around 128 or 8.

        Raises:
            NotLoweredError: They have another type.
        """
        wanted = "uint8" if self.weight_bits == 8 else "uint4"
        if stored.dtype.name != wanted:
            raise NotLoweredError(f"its weights are {stored.dtype.name}, not {wanted}")
        signed = stored.astype(np.int16) - (1 << (self.weight_bits - 1))
        return signed.astype(np.int8)

    def depth(self, layout: Layout, k: int) -> int:
        """Return ``k`` inputs rounded up to whole groups."""
        group = layout.i16_depth if self.input_bits == 16 else layout.i8_depth
        if self.weight_bits == 4:
            group *= 2
        return -(-k // group) * group

    def memory(self, lowering: Lowering, m: Dim, k: int) -> Tensor:
        """Return scratch memory for ``m`` rows of integer inputs."""
        wide = self.input_bits == 16 or lowering.layout.i8_wide
        shape = (multiply(m, self.depth(lowering.layout, k)),)
        return lowering.scratch("q", shape, "int16" if wide else "int8")

    def pack(self, layout: Layout, rows: NDArray[np.int8]) -> NDArray[Any]:
        """Lay out weights ``[N, K]`` for the kernel."""
        if self.weight_bits == 4:
            return layout.pack_i4(rows)
        return layout.pack_w8a16(rows) if self.input_bits == 16 else layout.pack_i8(rows)

    def operands(
        self, lowering: Lowering, name: str, rows: NDArray[np.int8], x_scale: str = "NULL"
    ) -> tuple[str, ...]:
        """Store weights ``[N, K]``; return what the kernel takes between inputs and scales."""
        lowering.headers.add(f"{self.kernel}.h")
        weights = lowering.weight(name, self.pack(lowering.layout, rows))
        if self.kernel != "edgernn_linear_i8":
            return (weights,)
        sums = lowering.layout.row_sums(rows)
        stored = "NULL" if sums is None else lowering.weight(f"{name}_sums", sums)
        return (x_scale, weights, stored)


FORMS = {
    "Int8": Form("edgernn_linear_i8", 8, 8),
    "W8A16": Form("edgernn_linear_w8a16", 8, 16),
    "Int4": Form("edgernn_linear_i4", 4, 8),
}
"""By the suffix of our functions' names."""

Quantize = Callable[[str, str, str], str]
"""``quantize(q, x, row)``: C statement that makes the integers at q of the row at x."""


@dataclass(frozen=True)
class IntegerProduct:
    """A product with integer weights; inputs become integers first.

    Attributes:
        kernel: C function.
        operands: What it takes behind the inputs: names of weights and of what belongs to them.
        n: Outputs.
        k: Inputs.
        depth: Inputs with padding.
        q: Memory for the integer rows; None where inputs are what the kernel wants.
        quantize: Makes them.
        x_scale: Memory for a scale of each row, where they have one.
    """

    kernel: str
    operands: tuple[str, ...]
    n: int
    k: int
    depth: int
    q: Tensor | None
    quantize: Quantize
    x_scale: Tensor | None = None

    def scratch(self) -> list[Tensor]:
        """Return the memory of the integer rows."""
        return [tensor for tensor in (self.q, self.x_scale) if tensor is not None]

    def call(self, y: Rows, start: Rows | None, x: Rows, m: Dim, *, same_x: bool = False) -> str:
        """Return C statements for ``m`` rows (see `Product.call`)."""
        begin = start or Rows("NULL", 0)
        given = x if self.q is None else Rows(self.q.c, self.depth)
        product = c_call(
            self.kernel, y.address, y.stride, begin.address, begin.stride, given.address,
            given.stride, *self.operands, m, self.n, self.k,
        )  # fmt: skip
        if same_x or self.q is None:
            return product
        return f"{self._quantized(self.q.c, x, m)}\n{product}"

    def _quantized(self, q: str, x: Rows, m: Dim) -> str:
        if m == 1:
            return self.quantize(q, x.address, "0")
        stride = x.stride if isinstance(x.stride, int) else f"({x.stride})"
        code = self.quantize(f"{q} + r * {self.depth}", f"{x.address} + r * {stride}", "r")
        return f"for (size_t r = 0; r < {m}; ++r) {{\n{indented(code)}\n}}"


def dynamic_product(
    lowering: Lowering,
    name: str,
    values: NDArray[Any],
    scale: NDArray[np.float32],
    m: Dim,
    *,
    bounded: bool,
    q: Tensor | None = None,
) -> IntegerProduct:
    """Store the weights of an int8-dynamic product, and return it.

    Args:
        lowering: Where to.
        name: For the constants.
        values: ``[K, N]``, as in the quantized file.
        scale: ``[N]``.
        m: Most rows of one call.
        bounded: True if the inputs lie in [-1, 1] and have the fixed scale 1/127.
        q: Memory of another product's quantized inputs, to share; None for new memory.
    """
    form = FORMS["Int8"]
    k = int(values.shape[0])
    x_scale = None if bounded else lowering.scratch("q_scale", (m,))
    lowering.headers.add("edgernn_quantize.h")

    def quantize(q: str, x: str, row: str) -> str:
        if x_scale is None:
            return f"edgernn_quantize_unit({q}, {x}, {k});"
        return f"{x_scale.c}[{row}] = edgernn_quantize_row({q}, {x}, {k});"

    return _product(
        lowering, form, name, form.values(values), scale * UNIT if bounded else scale,
        q or form.memory(lowering, m, k), quantize, x_scale,
    )  # fmt: skip


def input_product(
    lowering: Lowering, form: Form, names: tuple[str, str, str, str], m: Dim
) -> IntegerProduct:
    """Store the weights of a product with float inputs, and return it.

    Args:
        lowering: Where to.
        form: Of its weights.
        names: Constants of the graph: center and inverse of the inputs, weights ``[K, N]``,
            multipliers ``[N]``.
        m: Most rows of one call.
    """
    values = form.values(lowering.require_constant(names[2], "weight"))
    center, inverse = (
        lowering.weight(name, float_constant(lowering.require_constant(name, "input scale")))
        for name in names[:2]
    )
    k = int(values.shape[0])
    each = int(lowering.shape(names[0]) != (1,))
    depth = form.depth(lowering.layout, k)
    suffix = "_i16" if form.input_bits == 16 else ""
    lowering.headers.add("edgernn_quantize_static.h")

    def quantize(q: str, x: str, row: str) -> str:
        return c_call(f"edgernn_quantize_static{suffix}", q, x, center, inverse, each, k, depth)

    scale = float_constant(lowering.require_constant(names[3], "multiplier"))
    memory = form.memory(lowering, m, k)
    return _product(lowering, form, names[2], values, scale, memory, quantize)


def state_product(
    lowering: Lowering,
    form: Form,
    name: str,
    values: NDArray[np.int8],
    scale: NDArray[np.float32],
    m: Dim,
    *,
    q: Tensor | None = None,
) -> IntegerProduct:
    """Store the weights of a product with int16 states, and return it.

    Args:
        lowering: Where to.
        form: Of its weights.
        name: For the constants.
        values: ``[K, N]``.
        scale: ``[N]``.
        m: Most rows of one call.
        q: Memory of another product's inputs, to share; None for new memory.
    """
    k = int(values.shape[0])
    depth = form.depth(lowering.layout, k)
    kernel = "edgernn_copy_state" if form.input_bits == 16 else "edgernn_narrow_state"
    lowering.headers.add("edgernn_quantize_static.h")

    def quantize(q: str, x: str, row: str) -> str:
        return f"{kernel}({q}, {x}, {k}, {depth});"

    memory = None
    if form.input_bits == 8 or depth != k:
        memory = q or form.memory(lowering, m, k)
    return _product(lowering, form, name, values, scale, memory, quantize)


def _product(
    lowering: Lowering,
    form: Form,
    name: str,
    values: NDArray[np.int8],
    scale: NDArray[np.float32],
    q: Tensor | None,
    quantize: Quantize,
    x_scale: Tensor | None = None,
) -> IntegerProduct:
    """Store weights ``[K, N]`` and their scales ``[N]``."""
    k, n = (int(size) for size in values.shape)
    rows = np.ascontiguousarray(values.T)
    weights = form.operands(lowering, name, rows, "NULL" if x_scale is None else x_scale.c)
    stored = lowering.weight(f"{name}_scale", scale.astype(np.float32))
    return IntegerProduct(
        kernel=form.kernel,
        operands=(*weights, stored),
        n=n,
        k=k,
        depth=form.depth(lowering.layout, k),
        q=q,
        quantize=quantize,
        x_scale=x_scale,
    )
