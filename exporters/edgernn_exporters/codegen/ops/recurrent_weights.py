"""Weights and biases of one direction of a recurrent layer, known now or at run time.

Constants are packed here. What is computed at run time (by another network, or given as an input)
is packed in C before the layer runs, and multiplied by the same kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.lowering import Lowering, float_constant
from edgernn_exporters.codegen.products import FloatProduct, float_product
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor


@dataclass(frozen=True)
class Parameter:
    """An input of a recurrent node that holds parameters of all directions.

    Attributes:
        name: In the graph.
        value: Constant, or memory that holds it at run time.
    """

    name: str
    value: NDArray[np.float32] | Tensor

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes."""
        return tuple(self.value.shape)


@dataclass(frozen=True)
class Bias:
    """C addresses of a direction's biases, None where they are 0, and the memory behind them.

    Attributes:
        start: What the input product is added to.
        candidate: What a GRU's recurrent product of the candidate is added to.
        memory: Tensors that both are in.
    """

    start: str | None
    candidate: str | None
    memory: tuple[Tensor, ...] = ()


def parameter(lowering: Lowering, name: str) -> Parameter:
    """Return an input of a node as parameters.

    Raises:
        NotLoweredError: It is not float32.
    """
    array = lowering.constant(name)
    if array is not None:
        return Parameter(name, float_constant(array))
    tensor = lowering.tensor(name)
    if tensor.dtype != "float32":
        raise NotLoweredError(f"its weights {name!r} are {tensor.dtype}, not float32")
    return Parameter(name, tensor)


def matrix(
    lowering: Lowering, given: Parameter, direction: int, rows: slice, label: str
) -> FloatProduct:
    """Return the product with some rows of one direction of ``[D, N, K]``."""
    if not isinstance(given.value, Tensor):
        return float_product(lowering, label, given.value[direction, rows])
    whole = given.value
    _, all_rows, k = (int(str(size)) for size in whole.shape)
    first, last, _ = rows.indices(all_rows)
    n, block = last - first, lowering.layout.f32_rows
    packed = lowering.scratch(f"{label}_packed", (-(-n // block) * block * k,))
    place = (direction * all_rows + first) * k
    lowering.headers |= {"edgernn_linear_f32.h", "edgernn_pack_f32.h"}
    lowering.emit(
        f"edgernn_pack_f32({packed.c}, {whole.c} + {place}, {n}, {k});",
        reads=[whole],
        writes=[packed],
    )
    return FloatProduct(packed.c, n, k, (packed,))


def bias(
    lowering: Lowering, given: Parameter | None, direction: int, apart: int, label: tuple[str, str]
) -> Bias:
    """Return the biases of one direction of ``[D, 2N]``.

    Args:
        lowering: Where to.
        given: The input B, or None.
        direction: Which one.
        apart: The last so many recurrent biases are not added to those of the input product.
        label: Names of the two biases.
    """
    if given is None:
        return Bias(None, None)
    if not isinstance(given.value, Tensor):
        return _constant(lowering, given.value[direction], apart, label)
    whole = given.value
    n = int(str(whole.shape[1])) // 2
    start = lowering.scratch(label[0], (n,))
    ours = f"{whole.c} + {direction * 2 * n}"
    theirs = f"{whole.c} + {direction * 2 * n + n}"
    code = f"edgernn_sum_f32({start.c}, {ours}, {theirs}, {n - apart});"
    if apart:
        target, source = f"{start.c} + {n - apart}", f"{ours} + {n - apart}"
        code += f"\nmemcpy({target}, {source}, {apart} * sizeof(float));"
    lowering.headers.add("edgernn_pack_f32.h")
    lowering.emit(code, reads=[whole], writes=[start])
    candidate = f"{theirs} + {n - apart}" if apart else None
    return Bias(start.c, candidate, (start, whole))


def row(lowering: Lowering, given: Parameter, direction: int) -> tuple[str, tuple[Tensor, ...]]:
    """Return the C address of one direction of ``[D, N]``, and the memory behind it."""
    if not isinstance(given.value, Tensor):
        return lowering.weight(given.name, given.value[direction]), ()
    size = int(str(given.value.shape[1]))
    return f"({given.value.c} + {direction * size})", (given.value,)


def _constant(
    lowering: Lowering, row: NDArray[np.float32], apart: int, label: tuple[str, str]
) -> Bias:
    ours, theirs = np.split(row, 2)
    start = ours + theirs
    candidate = None
    if apart:
        start[-apart:] = ours[-apart:]
        if theirs[-apart:].any():
            candidate = lowering.weight(label[1], theirs[-apart:])
    return Bias(lowering.weight(label[0], start) if start.any() else None, candidate)
