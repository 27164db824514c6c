"""Match the operators of one step of an LSTM or GRU."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
import onnx

from edgernn_exporters.onnx_import.recognise_affine import Affine, Floats, Values
from edgernn_exporters.onnx_nodes import attributes


@dataclass(frozen=True)
class Cell:
    """Describe one step, with weights as ONNX orders them.

    Attributes:
        op_type: ``"LSTM"`` or ``"GRU"``.
        x: Names of the inputs [batch, in], to be joined.
        h: State [batch, hidden] before the step; "" for zeros.
        c: The LSTM's cell state before the step, else "".
        next_h: State after the step, also the output.
        next_c: The LSTM's cell state after the step, else "".
        w: Weights [gates * hidden, in].
        r: Weights [gates * hidden, hidden].
        b: Biases of both [2 * gates * hidden].
        linear_before_reset: Of a GRU: where the reset gate acts.
        hard: Slope and offset of the gates' hard sigmoid ``clip(slope * x + offset, 0, 1)``; None
            for sigmoids.
    """

    op_type: str
    x: tuple[str, ...]
    h: str
    c: str
    next_h: str
    next_c: str
    w: Floats
    r: Floats
    b: Floats
    linear_before_reset: int = 0
    hard: tuple[float, float] | None = None

    @property
    def hidden(self) -> int:
        """Size of the state."""
        return int(self.r.shape[1])


@dataclass(frozen=True)
class _Gate:
    """A gate: a sum of products, and what is applied to it."""

    sum: Affine
    hard: tuple[float, float] | None


def cells(values: Values, states: Collection[str] | None = None) -> Iterator[Cell]:
    """Yield every step that can be read in just one way.

    Args:
        values: Of the graph.
        states: Names of which h must be one, if it is known what the states are.
    """
    for name in list(values.producers):
        found = [
            cell
            for cell in (*_lstms(values, name), *_grus(values, name))
            if states is None or cell.h in states
        ]
        if len(found) == 1:
            yield found[0]


def _lstms(values: Values, name: str) -> Iterator[Cell]:
    for out, squashed in _factors(values, name):
        o, tanh = _gate(values, out), values.made_by(squashed, "Tanh")
        total = values.made_by(tanh.input[0], "Add") if tanh else None
        if o is None or total is None:
            continue
        for new, old in permutations(total.input):
            for (gate_i, gate_g), (gate_f, c) in product(
                _factors(values, new), _factors(values, old)
            ):
                i, f, g = _gate(values, gate_i), _gate(values, gate_f), _tanh(values, gate_g)
                if i is None or f is None or g is None or not i.hard == o.hard == f.hard:
                    continue
                sums = [i.sum, o.sum, f.sum, g]
                for h in _states(values, sums, c):
                    yield replace(_lstm(sums, h, c, name, total.output[0]), hard=i.hard)


def _lstm(gates: list[Affine], h: str, c: str, next_h: str, next_c: str) -> Cell:
    x = tuple(source for source in gates[0].matrices if source != h)
    w, r, b = _weights(gates, x, h)
    return Cell("LSTM", x, h, c, next_h, next_c, w, r, np.concatenate([b, np.zeros_like(b)]))


def _grus(values: Values, name: str) -> Iterator[Cell]:
    for gate, h, candidate, sign in _blends(values, name):
        z, tanh = _gate(values, gate), values.made_by(candidate, "Tanh")
        if z is None or tanh is None or h not in z.sum.matrices:
            continue
        if sign < 0 and z.hard is not None and z.hard[1] != 0.5:
            continue  # 1 - clip(a * x + b) = clip(a * -x + 1 - b), and all gates have one offset
        update = _Gate(z.sum.times(sign), z.hard)
        yield from _gru_before(values, update, h, tanh.input[0], name)
        yield from _gru_after(values, update, h, tanh.input[0], name)


def _blends(values: Values, name: str) -> Iterator[tuple[str, str, str, float]]:
    """Yield gate, state, candidate and the gate's sign for ``z * h + (1 - z) * n``.

    It may be any order of ``n + z * (h - n)``, ``n - z * (n - h)`` and ``n - z * n + z * h``, too.
    """
    for terms in values.sums(name):
        yield from _blends_of(values, terms)


def _blends_of(
    values: Values, terms: list[tuple[str, int]]
) -> Iterator[tuple[str, str, str, float]]:
    if len(terms) == 2 and {sign for _, sign in terms} == {1}:
        for (left, _), (right, _) in permutations(terms):
            for (z, kept), (rest, new) in product(_factors(values, left), _factors(values, right)):
                difference = values.made_by(rest, "Sub")
                one = values.floats(difference.input[0]) if difference else None
                if difference and one is not None and difference.input[1] == z and np.all(one == 1):
                    yield z, kept, new, 1.0
                    yield z, new, kept, -1.0
    if len(terms) == 2:
        for (plain, sign), (scaled, way) in permutations(terms):
            for z, inner in _factors(values, scaled):
                difference = values.made_by(inner, "Sub")
                if difference is None or sign < 0:
                    continue
                more, less = difference.input if way > 0 else reversed(difference.input)
                if less == plain:
                    yield z, more, plain, 1.0
                    yield z, plain, more, -1.0
    if len(terms) == 3:
        for (plain, sign), (gone, minus), (added, plus) in permutations(terms):
            if (sign, minus, plus) != (1, -1, 1):
                continue
            for (z, old), (same, other) in product(_factors(values, gone), _factors(values, added)):
                if z == same and old == plain:
                    yield z, other, plain, 1.0
                    yield z, plain, other, -1.0


def _gru_before(values: Values, z: _Gate, h: str, total: str, name: str) -> Iterator[Cell]:
    """Match ``x @ W + (r * h) @ R``."""
    n = values.affine(total)
    for source in n.matrices if n else ():
        for gate, state in _factors(values, source):
            r = _gate(values, gate)
            if n is None or r is None or state != h or r.hard != z.hard:
                continue
            parts = {h if key == source else key: value for key, value in n.matrices.items()}
            gates = [z.sum, r.sum, Affine(parts, n.bias)]
            if h not in n.matrices and _fits(gates, h):
                x = tuple(key for key in z.sum.matrices if key != h)
                w, rec, b = _weights(gates, x, h)
                bias = np.concatenate([b, np.zeros_like(b)])
                yield Cell("GRU", x, h, "", name, "", w, rec, bias, hard=z.hard)


def _gru_after(values: Values, z: _Gate, h: str, total: str, name: str) -> Iterator[Cell]:
    """Match ``x @ W + r * (h @ R + b)``."""
    terms = list(values.addends(total))
    for term in terms:
        for gate, inner in _factors(values, term):
            r, recurrent = _gate(values, gate), values.affine(inner)
            if r is None or recurrent is None or set(recurrent.matrices) != {h}:
                continue
            width = len(z.sum.bias)
            rest = _total(values, [other for other in terms if other != term], width)
            if rest is None or terms.count(term) > 1 or h in rest.matrices or r.hard != z.hard:
                continue
            gates = [z.sum, r.sum, Affine({**rest.matrices, **recurrent.matrices}, rest.bias)]
            if _fits(gates, h):
                x = tuple(key for key in z.sum.matrices if key != h)
                w, rec, b = _weights(gates, x, h)
                behind = np.concatenate([np.zeros(2 * width, np.float32), recurrent.bias])
                bias = np.concatenate([b, behind])
                yield Cell(
                    "GRU", x, h, "", name, "", w, rec, bias, linear_before_reset=1, hard=z.hard
                )  # fmt: skip


def _total(values: Values, terms: list[str], width: int) -> Affine | None:
    total: Affine | None = Affine({}, np.zeros(width, np.float32))
    for term in terms:
        bias = values.floats(term)
        if bias is not None:
            part = Affine({}, bias) if bias.shape == (width,) else None
        else:
            part = values.affine(term)
        total = total.plus(part) if total is not None and part is not None else None
    return total


def _gate(values: Values, name: str) -> _Gate | None:
    """Return a sigmoid or hard sigmoid of a sum of products."""
    node = values.made_by(name, "Sigmoid", "HardSigmoid", "Clip")
    if node is None:
        return None
    source, hard = str(node.input[0]), None
    if node.op_type == "HardSigmoid":
        given = attributes(node)
        hard = (float(given.get("alpha", 0.2)), float(given.get("beta", 0.5)))
    elif node.op_type == "Clip":
        line = _line(values, node)
        if line is None:
            return None
        source, hard = line[0], line[1:]
    total = values.affine(source)
    return None if total is None else _Gate(total, hard)


def _line(values: Values, clip: onnx.NodeProto) -> tuple[str, float, float] | None:
    """Return source, slope and offset of ``clip(slope * source + offset, 0, 1)``."""
    limits = [values.number(entry) for entry in clip.input[1:]]
    added = values.made_by(clip.input[0], "Add")
    for sloped, offset in permutations(added.input) if added and limits == [0, 1] else ():
        beta, scaled = values.number(offset), values.made_by(sloped, "Mul")
        for source, slope in permutations(scaled.input) if scaled and beta is not None else ():
            alpha = values.number(slope)
            if alpha is not None and beta is not None:
                return source, alpha, beta
    return None


def _tanh(values: Values, name: str) -> Affine | None:
    node = values.made_by(name, "Tanh")
    return values.affine(node.input[0]) if node else None


def _factors(values: Values, name: str) -> Iterator[tuple[str, str]]:
    node = values.made_by(name, "Mul")
    if node is not None:
        yield node.input[0], node.input[1]
        if node.input[0] != node.input[1]:
            yield node.input[1], node.input[0]


def _fits(gates: list[Affine], h: str) -> bool:
    """Tell whether all gates read the same inputs, and the state with a square matrix."""
    sources = set(gates[0].matrices)
    width = len(gates[0].bias)
    return (
        len(sources) > 1
        and h in sources
        and all(set(gate.matrices) == sources and len(gate.bias) == width for gate in gates)
        and gates[0].matrices[h].shape[0] == width
    )


def _states(values: Values, gates: list[Affine], c: str) -> list[str]:
    """Find which sources of an LSTM's gates can be the state; more than one if that is open.

    Of inputs as wide as the state, it is the one that comes from where ``c`` does, or the only one
    that was not computed here.
    """
    fitting = [source for source in gates[0].matrices if _fits(gates, source)]
    if len(fitting) > 1:
        origins = {source: _origin(values, source) for source in fitting}
        same = [source for source in fitting if origins[source] == _origin(values, c)]
        raw = [source for source in fitting if origins[source] not in values.producers]
        fitting = same if len(same) == 1 else raw if len(raw) == 1 else fitting
    return fitting if values.rank(c) == 2 else []


def _origin(values: Values, name: str) -> str:
    """Return the graph input that ``name`` is a piece of, or the Add of the step before."""
    moves = ("Slice", "Split", "Squeeze", "Unsqueeze", "Gather", "Transpose", "Reshape", "Identity")
    while node := values.made_by(name, *moves):
        name = node.input[0]
    for _, other in _factors(values, name):  # h = o * tanh(c)
        tanh = values.made_by(other, "Tanh")
        if tanh is not None and values.made_by(tanh.input[0], "Add"):
            return str(tanh.input[0])
    return name


def _weights(gates: list[Affine], x: tuple[str, ...], h: str) -> tuple[Floats, Floats, Floats]:
    w = [np.concatenate([gate.matrices[source] for source in x]).T for gate in gates]
    r = [gate.matrices[h].T for gate in gates]
    return np.concatenate(w), np.concatenate(r), np.concatenate([gate.bias for gate in gates])
