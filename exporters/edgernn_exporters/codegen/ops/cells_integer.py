"""The cells of int8, w8a16 and int4: recurrent products and integer gates in C.

States are int16; pre-activations are float32 in units of 2^-12, rounded by the gates
(docs/numerics.md, kernels in ``edgernn_cells_i16.h``). Gate order is ONNX's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgernn_exporters.codegen.integer_products import IntegerProduct
from edgernn_exporters.codegen.loops import literal
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.ops.recurrent_loop import Cell
from edgernn_exporters.codegen.products import Rows
from edgernn_exporters.codegen.values import Tensor

STATE_UNIT = 2.0**-15
"""Value of one unit of h, but for a relu RNN."""


def lstm_cell(recurrent: IntegerProduct, hidden: int, cell_bits: int) -> Cell:
    """Return an LSTM cell: ``recurrent`` gives ``[4H]``; one unit of c is 2^-cell_bits."""
    shift = 13 - cell_bits

    def update(h: str, c: str, a: str, row: str) -> str:
        return f"edgernn_lstm_gates_i16({h}, {c}, {a}, {shift}, {hidden});"

    return _cell(_one(recurrent), update, recurrent.scratch(), hidden)


def rnn_cell(recurrent: IntegerProduct, hidden: int, unit: float | None = None) -> Cell:
    """Return a plain RNN cell: tanh, or relu with its unit of h."""
    kind = "tanh" if unit is None else "relu"

    def update(h: str, c: str, a: str, row: str) -> str:
        return f"edgernn_rnn_{kind}_i16({h}, {a}, {hidden});"

    return _cell(_one(recurrent), update, recurrent.scratch(), hidden, unit or STATE_UNIT)


def gru_cell(
    lowering: Lowering,
    gates: IntegerProduct,
    candidate: IntegerProduct,
    bias: str,
    hidden: int,
    batch: int,
) -> Cell:
    """Return a GRU cell with linear_before_reset=1.

    Args:
        lowering: For scratch memory.
        gates: ``h -> [2H]``, z and r.
        candidate: ``h -> [H]``; shares its inputs with ``gates``.
        bias: C name of the candidate's recurrent bias.
        hidden: Units.
        batch: Rows.
    """
    part = lowering.scratch("candidate", (batch, hidden))

    def products(a: Rows, h: Rows, m: int) -> str:
        last = candidate.call(Rows(part.c, hidden), Rows(bias, 0), h, m, same_x=True)
        return f"{gates.call(a, a, h, m)}\n{last}"

    def update(h: str, c: str, a: str, row: str) -> str:
        s = _row(part.c, hidden, row)
        return f"edgernn_gru_gates_i16({h}, {a}, {a} + {2 * hidden}, {s}, {hidden});"

    memory = [part, *gates.scratch(), *candidate.scratch()]
    return _cell(products, update, memory, hidden)


def gru_cell_reset_before(
    lowering: Lowering, gates: IntegerProduct, candidate: IntegerProduct, hidden: int, batch: int
) -> Cell:
    """Return a GRU cell with linear_before_reset=0: ``candidate`` multiplies ``r * h``."""
    kept = lowering.scratch("reset", (batch, hidden), "int16")

    def products(a: Rows, h: Rows, m: int) -> str:
        rows = [(kept.c, a.address, h.address)]
        if m != 1:
            rows = [(f"{kept.c} + k * {hidden}", f"{a.address} + k * ({a.stride})",
                     f"{h.address} + k * {h.stride}")]  # fmt: skip
        reset = f"edgernn_gru_reset_i16({', '.join(rows[0])}, {hidden});"
        if m != 1:
            reset = f"for (size_t k = 0; k < {m}; ++k) {{\n    {reset}\n}}"
        last = Rows(f"{a.address} + {2 * hidden}", a.stride)
        rest = candidate.call(last, last, Rows(kept.c, hidden), m)
        return f"{gates.call(a, a, h, m)}\n{reset}\n{rest}"

    def update(h: str, c: str, a: str, row: str) -> str:
        return f"edgernn_gru_update_i16({h}, {a}, {a} + {2 * hidden}, {hidden});"

    return _cell(products, update, [kept, *gates.scratch(), *candidate.scratch()], hidden)


def _one(recurrent: IntegerProduct) -> Callable[[Rows, Rows, int], str]:
    """Return what adds one product of h to the pre-activations."""
    return lambda a, h, m: recurrent.call(a, a, h, m)


def _cell(
    products: Callable[[Rows, Rows, int], str],
    update: Callable[[str, str, str, str], str],
    memory: Sequence[Tensor],
    hidden: int,
    unit: float = STATE_UNIT,
) -> Cell:
    def output(y: str, h: str) -> str:
        return f"edgernn_widen_state({y}, {h}, {literal(unit, 'float32')}, {hidden});"

    return Cell(products, update, tuple(memory), output, "int16_t")


def _row(address: str, width: int, row: str) -> str:
    return address if row == "0" else f"{address} + {row} * {width}"
