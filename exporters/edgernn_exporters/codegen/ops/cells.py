"""The cells: recurrent products and gate updates in C, with every attribute of ONNX.

Gate order is ONNX's: LSTM ``i o f c``, GRU ``z r h``. Cells with default activations call the
kernels in ``edgernn_cells.h``; clip, peepholes, coupled gates and other activations are written
out as a loop over the units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgernn_exporters.codegen.loops import literal
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.ops.recurrent_loop import Cell
from edgernn_exporters.codegen.products import Product, Rows
from edgernn_exporters.codegen.refusal import NotLoweredError

DEFAULTS = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "RNN": ("tanh",),
}

# ONNX activation: C function, defaults of alpha and beta (None where it takes none). Where the
# specification is silent or ONNX Runtime differs from it, they are ONNX Runtime's (0).
_FUNCTIONS: dict[str, tuple[str, float | None, float | None]] = {
    "sigmoid": ("edgernn_sigmoid", None, None),
    "tanh": ("edgernn_tanh", None, None),
    "relu": ("edgernn_relu", None, None),
    "affine": ("edgernn_affine", 0.0, 0.0),
    "leakyrelu": ("edgernn_leaky_relu", 0.01, None),
    "thresholdedrelu": ("edgernn_thresholded_relu", 0.0, None),
    "scaledtanh": ("edgernn_scaled_tanh", 0.0, 0.0),
    "hardsigmoid": ("edgernn_hard_sigmoid", 0.2, 0.5),
    "elu": ("edgernn_elu", 1.0, None),
    "softsign": ("edgernn_softsign", None, None),
    "softplus": ("edgernn_softplus", None, None),
}


@dataclass(frozen=True)
class Activation:
    """One activation of a cell, as a C function and its fixed arguments."""

    name: str
    arguments: tuple[float, ...] = ()

    def of(self, x: str) -> str:
        """Return the C expression of its value at ``x``."""
        extra = "".join(f", {literal(value, 'float32')}" for value in self.arguments)
        return f"{_FUNCTIONS[self.name][0]}({x}{extra})"


@dataclass(frozen=True)
class Options:
    """Attributes of one direction of a layer.

    Attributes:
        activations: In ONNX's order for the cell.
        clip: Limit of what goes into the activations, or None.
        coupled: LSTM ``input_forget``: the forget gate is one minus the input gate.
        peephole: C name of LSTM's ``P [3H]``, or None.
    """

    activations: tuple[Activation, ...]
    clip: float | None = None
    coupled: bool = False
    peephole: str | None = None

    def plain(self, kind: str) -> bool:
        """Tell whether the kernels in ``edgernn_cells.h`` compute this."""
        names = tuple(item.name for item in self.activations)
        special = self.clip is not None or self.coupled or self.peephole is not None
        return names == DEFAULTS[kind] and not special

    def clipped(self, x: str) -> str:
        """Return ``x`` within the limits of ``clip``."""
        if self.clip is None:
            return x
        return f"edgernn_clip({x}, {literal(self.clip, 'float32')})"


def parse_activations(
    kind: str, names: list[str], alphas: list[float], betas: list[float], directions: int
) -> list[tuple[Activation, ...]]:
    """Read the activation attributes of a node, for each direction.

    Alphas and betas are consumed in order by the activations that take one, as in ONNX.

    Raises:
        NotLoweredError: A name is unknown, or there are too few names.
    """
    each = len(DEFAULTS[kind])
    wanted = [name.lower() for name in names] or list(DEFAULTS[kind]) * directions
    if len(wanted) != each * directions:
        raise NotLoweredError(f"it names {len(wanted)} activations; {each * directions} are needed")
    rest_alpha, rest_beta = list(alphas), list(betas)
    found = []
    for name in wanted:
        if name not in _FUNCTIONS:
            raise NotLoweredError(f"its activation {name!r} is not one of ONNX's")
        _, alpha, beta = _FUNCTIONS[name]
        arguments = []
        if alpha is not None:
            arguments.append(rest_alpha.pop(0) if rest_alpha else alpha)
        if beta is not None:
            arguments.append(rest_beta.pop(0) if rest_beta else beta)
        found.append(Activation(name, tuple(arguments)))
    return [tuple(found[d * each : (d + 1) * each]) for d in range(directions)]


def lstm_cell(recurrent: Product, options: Options, hidden: int) -> Cell:
    """Return an LSTM cell: ``recurrent`` gives ``[4H]``."""

    def products(a: Rows, h: Rows, m: int) -> str:
        return recurrent.call(a, a, h, m)

    def update(h: str, c: str, a: str, row: str) -> str:
        if options.plain("LSTM"):
            return f"edgernn_lstm_gates({h}, {c}, {a}, {hidden});"
        f, g, out = options.activations
        peep, clip = options.peephole, options.clipped

        def gate(number: int, state: str | None, place: int) -> str:
            text = f"({a})[{number * hidden} + j]"
            if peep and state:
                text += f" + {peep}[{place * hidden} + j] * {state}"
            return clip(text)

        forget = "1.0f - i_j" if options.coupled else f.of(gate(2, "c_j", 2))
        return _loop(hidden, [
            f"const float c_j = ({c})[j];",
            f"const float i_j = {f.of(gate(0, 'c_j', 0))};",
            f"const float f_j = {forget};",
            f"const float g_j = {g.of(gate(3, None, 0))};",
            "const float next = f_j * c_j + i_j * g_j;",
            f"({c})[j] = next;",
            f"({h})[j] = {f.of(gate(1, 'next', 1))} * {out.of('next')};",
        ])  # fmt: skip

    return Cell(products, update, tuple(recurrent.scratch()), copied(hidden))


def gru_cell(
    lowering: Lowering,
    gates: Product,
    candidate: Product,
    bias: str | None,
    options: Options,
    geometry: tuple[int, int],
    *,
    linear_before_reset: bool,
) -> Cell:
    """Return a GRU cell.

    Args:
        lowering: For scratch memory.
        gates: ``h -> [2H]``, z and r.
        candidate: ``[H] -> [H]``, of h or of r * h.
        bias: C name of the candidate's recurrent bias (linear_before_reset=1), or None.
        options: Attributes.
        geometry: Hidden units and batch.
        linear_before_reset: PyTorch's form.
    """
    hidden, batch = geometry
    extra = lowering.scratch("reset", (batch, hidden))
    memory = (extra, *gates.scratch(), *candidate.scratch())
    z_r, n = options.activations
    clip, plain = options.clipped, options.plain("GRU")
    mine = Rows(extra.c, hidden)

    def next_state(h: str, z: str, candidate: str) -> list[str]:
        return [
            f"const float z_j = {z_r.of(clip(z))};",
            f"const float n_j = {n.of(clip(candidate))};",
            f"({h})[j] = n_j + z_j * (({h})[j] - n_j);",
        ]

    def products_after(a: Rows, h: Rows, m: int) -> str:
        start = Rows(bias, 0) if bias else None
        again = candidate.call(mine, start, h, m, same_x=True)
        return f"{gates.call(a, a, h, m)}\n{again}"

    def update_after(h: str, c: str, a: str, row: str) -> str:
        s = extra.c if row == "0" else f"{extra.c} + {row} * {hidden}"
        if plain:
            return f"edgernn_gru_gates({h}, {a}, {a} + {2 * hidden}, {s}, {hidden});"
        r = z_r.of(clip(f"({a})[{hidden} + j]"))
        return _loop(hidden, [
            f"const float r_j = {r};",
            *next_state(h, f"({a})[j]", f"({a})[{2 * hidden} + j] + r_j * ({s})[j]"),
        ])  # fmt: skip

    def products_before(a: Rows, h: Rows, m: int) -> str:
        def row(rows: Rows) -> str:
            return rows.address if m == 1 else f"{rows.address} + k * ({rows.stride})"

        target = extra.c if m == 1 else f"{extra.c} + k * {hidden}"
        if plain:
            reset = f"edgernn_gru_reset({target}, {row(a)}, {row(h)}, {hidden});"
        else:
            r = z_r.of(clip(f"({row(a)})[{hidden} + j]"))
            reset = _loop(hidden, [f"({target})[j] = {r} * ({row(h)})[j];"])
        if m != 1:
            reset = f"for (size_t k = 0; k < {m}; ++k) {{\n    {reset}\n}}"
        last = Rows(f"{a.address} + {2 * hidden}", a.stride)
        return f"{gates.call(a, a, h, m)}\n{reset}\n{candidate.call(last, last, mine, m)}"

    def update_before(h: str, c: str, a: str, row: str) -> str:
        if plain:
            return f"edgernn_gru_update({h}, {a}, {a} + {2 * hidden}, {hidden});"
        return _loop(hidden, next_state(h, f"({a})[j]", f"({a})[{2 * hidden} + j]"))

    if linear_before_reset:
        return Cell(products_after, update_after, memory, copied(hidden))
    return Cell(products_before, update_before, memory, copied(hidden))


def rnn_cell(recurrent: Product, options: Options, hidden: int) -> Cell:
    """Return a plain RNN cell."""

    def products(a: Rows, h: Rows, m: int) -> str:
        return recurrent.call(a, a, h, m)

    def update(h: str, c: str, a: str, row: str) -> str:
        if options.plain("RNN"):
            return f"edgernn_rnn_tanh({h}, {a}, {hidden});"
        value = options.activations[0].of(options.clipped(f"({a})[j]"))
        return _loop(hidden, [f"({h})[j] = {value};"])

    return Cell(products, update, tuple(recurrent.scratch()), copied(hidden))


def copied(hidden: int) -> Callable[[str, str], str]:
    """Return what copies a float state to the output."""
    return lambda y, h: f"edgernn_copy({y}, {h}, {hidden});"


def _loop(hidden: int, body: list[str]) -> str:
    inner = "\n".join("    " + line for line in body)
    return f"for (size_t j = 0; j < {hidden}; ++j) {{\n{inner}\n}}"
