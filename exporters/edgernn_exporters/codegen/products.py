"""Products with constant weights, as calls of the linear kernels; those with float weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.values import Tensor

_LINE = 88


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
    """A product with float32 weights (`edgernn_linear_f32`), which ``memory`` holds if need be."""

    weights: str
    n: int
    k: int
    memory: tuple[Tensor, ...] = ()

    def scratch(self) -> list[Tensor]:
        """Return the memory of weights that are no constants; the kernel needs none."""
        return list(self.memory)

    def call(self, y: Rows, start: Rows | None, x: Rows, m: Dim, *, same_x: bool = False) -> str:
        """Return C statements for ``m`` rows (see `Product.call`)."""
        begin = start or Rows("NULL", 0)
        return c_call(
            "edgernn_linear_f32", y.address, y.stride, begin.address, begin.stride, x.address,
            x.stride, self.weights, m, self.n, self.k,
        )  # fmt: skip


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
