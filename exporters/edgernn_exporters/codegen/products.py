"""Products with constant weights, float or 8-bit, as calls of the linear kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, multiply
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.values import Tensor

_LINE = 88

UNIT = np.float32(1) / np.float32(127)
"""Scale of a hidden state in [-1, 1] as 8-bit input (docs/numerics.md)."""


@dataclass(frozen=True)
class Rows:
    """Address rows in memory: row ``i`` begins at ``address + i * stride``."""

    address: str
    stride: Dim | str


class Product(Protocol):
    """``y[i] = start[i] + W x[i]`` with constant ``W [n, k]``."""

    @property
    def n(self) -> int:
        """Outputs."""
        ...

    @property
    def k(self) -> int:
        """Inputs."""
        ...

    def scratch(self) -> list[Tensor]:
        """Return the memory that `call` uses for itself."""
        ...

    def call(self, y: Rows, start: Rows | None, x: Rows, m: Dim, *, same_x: bool = False) -> str:
        """Return C statements for ``m`` rows.

        Args:
            y: Where results go.
            start: What they are added to; None for 0.
            x: Inputs.
            m: Number of rows.
            same_x: True if the last call, of a product on the same memory, had the same inputs.
        """
        ...


@dataclass(frozen=True)
class FloatProduct:
    """A product with float32 weights (`edgernn_linear_f32`)."""

    weights: str
    n: int
    k: int

    def scratch(self) -> list[Tensor]:
        """Return nothing: the kernel needs no memory."""
        return []

    def call(self, y: Rows, start: Rows | None, x: Rows, m: Dim, *, same_x: bool = False) -> str:
        """Return C statements for ``m`` rows (see `Product.call`)."""
        begin = start or Rows("NULL", 0)
        return c_call(
            "edgernn_linear_f32", y.address, y.stride, begin.address, begin.stride, x.address,
            x.stride, self.weights, m, self.n, self.k,
        )  # fmt: skip


@dataclass(frozen=True)
class ByteProduct:
    """A product with 8-bit weights; inputs are quantized first (`edgernn_linear_i8`).

    Attributes:
        weights: C name of the packed weights.
        sums: C name of the sums of their rows, or ``NULL``.
        scale: C name of the rows' scales.
        n: Outputs.
        k: Inputs.
        depth: Inputs with padding.
        q: Memory for the quantized rows.
        x_scale: Memory for their scales; None where the inputs have the fixed scale 1/127.
    """

    weights: str
    sums: str
    scale: str
    n: int
    k: int
    depth: int
    q: Tensor
    x_scale: Tensor | None

    def scratch(self) -> list[Tensor]:
        """Return the memory of the quantized rows."""
        return [self.q] if self.x_scale is None else [self.q, self.x_scale]

    def call(self, y: Rows, start: Rows | None, x: Rows, m: Dim, *, same_x: bool = False) -> str:
        """Return C statements for ``m`` rows (see `Product.call`)."""
        begin = start or Rows("NULL", 0)
        scales = "NULL" if self.x_scale is None else self.x_scale.c
        product = c_call(
            "edgernn_linear_i8", y.address, y.stride, begin.address, begin.stride, self.q.c,
            self.depth, scales, self.weights, self.sums, self.scale, m, self.n, self.k,
        )  # fmt: skip
        return product if same_x else f"{self._quantized(x, m)}\n{product}"

    def _quantized(self, x: Rows, m: Dim) -> str:
        """Return C statements that quantize ``m`` rows."""
        q, given, place = self.q.c, x.address, "0"
        if m != 1:
            stride = x.stride if isinstance(x.stride, int) else f"({x.stride})"
            q, given, place = f"{q} + r * {self.depth}", f"{given} + r * {stride}", "r"
        if self.x_scale is None:
            code = f"edgernn_quantize_unit({q}, {given}, {self.k});"
        else:
            scale = f"{self.x_scale.c}[{place}]"
            code = f"{scale} = edgernn_quantize_row({q}, {given}, {self.k});"
        return code if m == 1 else f"for (size_t r = 0; r < {m}; ++r) {{\n    {code}\n}}"


def c_call(name: str, *arguments: object) -> str:
    """Return a call as a C statement, broken into lines that are not too long."""
    lines = [f"{name}("]
    for index, argument in enumerate(arguments):
        text = f"{argument}" + (");" if index == len(arguments) - 1 else ",")
        if len(lines[-1]) + len(text) + 1 > _LINE:
            lines.append("    " + text)
        else:
            lines[-1] += text if lines[-1].endswith("(") else f" {text}"
    return "\n".join(lines)


def float_product(lowering: Lowering, name: str, rows: NDArray[np.float32]) -> FloatProduct:
    """Store float weights ``[N, K]`` and return their product."""
    lowering.headers.add("edgernn_linear_f32.h")
    weights = lowering.weight(name, lowering.layout.pack_f32(rows))
    return FloatProduct(weights, int(rows.shape[0]), int(rows.shape[1]))


def byte_product(
    lowering: Lowering,
    name: str,
    values: NDArray[Any],
    scale: NDArray[np.float32],
    m: Dim,
    *,
    bounded: bool,
    q: Tensor | None = None,
) -> ByteProduct:
    """Store 8-bit weights and return their product.

    Args:
        lowering: Where to.
        name: For the constants.
        values: ``[K, N]`` uint8 with zero point 128, as in the quantized file.
        scale: ``[N]``.
        m: Most rows of one call.
        bounded: True if the inputs lie in [-1, 1] and have the fixed scale 1/127.
        q: Memory of another product's quantized inputs, to share; None for new memory.
    """
    lowering.headers |= {"edgernn_linear_i8.h", "edgernn_quantize.h"}
    layout = lowering.layout
    rows = (values.astype(np.int16) - 128).astype(np.int8).T
    n, k = (int(size) for size in rows.shape)
    depth = layout.depth_of(k)
    row_sums = layout.row_sums(rows)
    sums = "NULL" if row_sums is None else lowering.weight(f"{name}_sums", row_sums)
    factors = scale * UNIT if bounded else scale
    return ByteProduct(
        weights=lowering.weight(name, layout.pack_i8(rows)),
        sums=sums,
        scale=lowering.weight(f"{name}_scale", factors.astype(np.float32)),
        n=n,
        k=k,
        depth=depth,
        q=q or lowering.scratch("q", (multiply(m, depth),), "int16" if layout.i8_wide else "int8"),
        x_scale=None if bounded else lowering.scratch("q_scale", (m,)),
    )
