"""LSTM and GRU layers as the operators of their steps, in the forms that exporters leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from helpers.onnx_cells import Graph

ORDER = range(4)  # of ONNX: i, o, f, c


@dataclass(frozen=True)
class Form:
    """How a layer is written.

    Attributes:
        cell: ``"LSTM"``, ``"GRU0"`` (reset before the product) or ``"GRU1"`` (behind it).
        order: Of the gates in the weights: those of ONNX by number.
        cut: Whether the gates are parts of one product (``"Split"``, ``"Slice"``) or separate.
        fused: One product of ``[x, h]`` instead of two.
        gemm: Gemm instead of MatMul and Add.
        bias: Where it is added: to ``"x"``, ``"h"``, ``"both"`` products or the ``"sum"``.
        blend: Of a GRU: ``"z*h+(1-z)*n"``, ``"(1-z)*h+z*n"``, ``"n+z*(h-n)"``, ``"h+z*(n-h)"``,
            expanded ``"n-z*n+z*h"``, ``"z*h+n-z*n"``, ``"h-z*h+z*n"``, or ``"n-z*(n-h)"``.
        squash: Of the gates: ``"Sigmoid"``, ``"HardSigmoid"`` or ``"Clip"`` of the same.
        swap: Operands of Add and Mul in the other order.
        steps: Taken from the sequence by ``"Split"``, ``"Slice"``, ``"Gather"``.
        batch_first: Axes of the sequence.
    """

    cell: str = "LSTM"
    order: tuple[int, ...] = tuple(ORDER)
    cut: str = "Split"
    fused: bool = False
    gemm: bool = False
    bias: str = "sum"
    blend: str = "z*h+(1-z)*n"
    squash: str = "Sigmoid"
    swap: bool = False
    steps: str = "Split"
    batch_first: bool = False


@dataclass(frozen=True)
class Layer:
    """Weights by gate in ONNX's order: W [G, H, I], R [G, H, H], biases [G, H]."""

    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray
    rb: np.ndarray

    @staticmethod
    def random(rng: np.random.Generator, gates: int, inputs: int, hidden: int) -> Layer:
        def draw(*shape: int) -> np.ndarray:
            return rng.uniform(-0.8, 0.8, shape).astype(np.float32)

        return Layer(draw(gates, hidden, inputs), draw(gates, hidden, hidden),
                     draw(gates, hidden), draw(gates, hidden))  # fmt: skip


class Steps:
    """Write steps of one layer into a graph; weights are written once."""

    def __init__(self, g: Graph, form: Form, layer: Layer) -> None:
        self.g, self.form, self.layer = g, form, layer
        self.hidden = layer.w.shape[1]
        self._once: dict[tuple[tuple[int, ...], bytes], str] = {}

    def step(self, x: str, h: str, c: str = "") -> tuple[str, str]:
        """Return the next h and c."""
        if self.form.cell == "LSTM":
            return self.lstm(x, h, c)
        return self.gru(x, h), ""

    def lstm(self, x: str, h: str, c: str) -> tuple[str, str]:
        gate = self.gates(x, h, self.form.order)
        i, o, f = (self.squashed(gate[at]) for at in ORDER[:3])
        new = self.two("Mul", i, self.g.add("Tanh", gate[ORDER[3]]))
        c = self.two("Add", self.two("Mul", f, c), new)
        return self.two("Mul", o, self.g.add("Tanh", c)), c

    def gru(self, x: str, h: str) -> str:
        g = self.g
        first = [at for at in self.form.order if at < 2]
        gate = self.gates(x, h, first)
        z, r = self.squashed(gate[0]), self.squashed(gate[1])
        if self.form.cell == "GRU0":
            n = self.gates(x, self.two("Mul", r, h), [2])[2]
        else:
            of_x = self.linear(x, self.layer.w, self.layer.wb, [2])
            of_h = self.linear(h, self.layer.r, self.layer.rb, [2])
            n = self.two("Add", of_x, self.two("Mul", r, of_h))
        n = g.add("Tanh", n)
        if self.form.blend == "z*h+(1-z)*n":
            keep, take = z, self.rest(z)
        elif self.form.blend == "(1-z)*h+z*n":
            keep, take = self.rest(z), z
        elif self.form.blend == "n+z*(h-n)":
            return self.two("Add", n, self.two("Mul", z, g.add("Sub", h, n)))
        elif self.form.blend == "h+z*(n-h)":
            return self.two("Add", h, self.two("Mul", z, g.add("Sub", n, h)))
        elif self.form.blend == "n-z*(n-h)":
            return g.add("Sub", n, self.two("Mul", z, g.add("Sub", n, h)))
        elif self.form.blend == "n-z*n+z*h":
            rest = g.add("Sub", n, self.two("Mul", z, n))
            return self.two("Add", rest, self.two("Mul", z, h))
        elif self.form.blend == "z*h+n-z*n":
            return g.add("Sub", self.two("Add", self.two("Mul", z, h), n), self.two("Mul", z, n))
        else:
            rest = g.add("Sub", h, self.two("Mul", z, h))
            return self.two("Add", rest, self.two("Mul", z, n))
        return self.two("Add", self.two("Mul", keep, h), self.two("Mul", take, n))

    def squashed(self, x: str) -> str:
        if self.form.squash != "Clip":
            return self.g.add(self.form.squash, x)
        line = self.two("Mul", x, self.once(np.array(0.2)))
        line = self.two("Add", line, self.once(np.array(0.5)))
        return self.g.add("Clip", line, self.once(np.array(0.0)), self.once(np.array(1.0)))

    def rest(self, z: str) -> str:
        return self.g.add("Sub", self.once(np.ones(())), z)

    def gates(self, x: str, h: str, order: tuple[int, ...] | list[int]) -> dict[int, str]:
        """Return the sums of some gates, each by its number."""
        if self.form.cut == "separate":
            return {at: self.sum(x, h, [at]) for at in order}
        whole, count = self.sum(x, h, order), len(order)
        if count == 1:
            return {order[0]: whole}
        if self.form.cut == "Split":
            sizes = self.g.ints(*[self.hidden] * count)
            parts = self.g.many("Split", whole, sizes, outputs=count, axis=1)
        else:
            parts = [
                self.g.add("Slice", whole, self.g.ints(at * self.hidden),
                           self.g.ints((at + 1) * self.hidden), self.g.ints(1))
                for at in range(count)
            ]  # fmt: skip
        return dict(zip(order, parts, strict=True))

    def sum(self, x: str, h: str, order: tuple[int, ...] | list[int]) -> str:
        la, form = self.layer, self.form
        zero = np.zeros_like(la.wb)
        at_x, at_h, last = {
            "x": (la.wb + la.rb, zero, zero), "h": (zero, la.wb + la.rb, zero),
            "both": (la.wb, la.rb, zero), "sum": (zero, zero, la.wb + la.rb),
        }[form.bias]  # fmt: skip
        if form.fused:
            joined = self.g.add("Concat", x, h, axis=1)
            weights = np.concatenate([la.w, la.r], axis=2)
            total = self.linear(joined, weights, at_x + at_h, order)
        else:
            total = self.two("Add", self.linear(x, la.w, at_x, order),
                             self.linear(h, la.r, at_h, order))  # fmt: skip
        return self.biased(total, last, order)

    def linear(
        self, x: str, weights: np.ndarray, bias: np.ndarray, order: tuple[int, ...] | list[int]
    ) -> str:
        matrix = np.concatenate([weights[at] for at in order])
        if self.form.gemm:
            added = self.once(np.concatenate([bias[at] for at in order]))
            return self.g.add("Gemm", x, self.once(matrix), added, transB=1)
        return self.biased(self.g.add("MatMul", x, self.once(matrix.T)), bias, order)

    def biased(self, x: str, bias: np.ndarray, order: tuple[int, ...] | list[int]) -> str:
        if not bias.any():
            return x
        return self.two("Add", x, self.g.const(np.concatenate([bias[at] for at in order])))

    def once(self, value: np.ndarray) -> str:
        """Add a constant, if it is not there yet."""
        key = (value.shape, value.tobytes())
        if key not in self._once:
            self._once[key] = self.g.const(value)
        return self._once[key]

    def two(self, op_type: str, one: str, other: str) -> str:
        return self.g.add(op_type, *((other, one) if self.form.swap else (one, other)))


def taken_apart(g: Graph, form: Form, x: str, count: int) -> list[str]:
    """Return the steps [batch, in] of a sequence."""
    axis = int(form.batch_first)
    if form.steps == "Gather":
        return [g.add("Gather", x, g.const(t, np.int64), axis=axis) for t in range(count)]
    if form.steps == "Slice":
        parts = [g.add("Slice", x, g.ints(t), g.ints(t + 1), g.ints(axis)) for t in range(count)]
    else:
        parts = g.many("Split", x, g.ints(*[1] * count), outputs=count, axis=axis)
    return [g.add("Squeeze", part, g.ints(axis)) for part in parts]


def stacked(g: Graph, form: Form, parts: list[str], to: str) -> str:
    """Return the sequence of steps [batch, out]."""
    axis = int(form.batch_first)
    return g.add("Concat", *(g.add("Unsqueeze", part, g.ints(axis)) for part in parts), to=to,
                 axis=axis)  # fmt: skip


def unrolled(form: Form, layers: list[Layer], steps: int, batch: int | str = 2) -> onnx.ModelProto:
    """Return a model ``x, h0, c0, h1, … -> y, h0n, c0n, …`` of unrolled layers."""
    g = Graph()
    sequence, inputs, outputs = "x", {}, {}
    width, hidden = layers[0].w.shape[2], layers[0].w.shape[1]
    inputs["x"] = [batch, steps, width] if form.batch_first else [steps, batch, width]
    for at, layer in enumerate(layers):
        hidden = layer.w.shape[1]
        writer = Steps(g, form, layer)
        h, c = f"h{at}", f"c{at}" if form.cell == "LSTM" else ""
        inputs.update({name: [batch, hidden] for name in (h, c) if name})
        made = []
        for x in taken_apart(g, form, sequence, steps):
            h, c = writer.step(x, h, c)
            made.append(h)
        last = at == len(layers) - 1
        sequence = stacked(g, form, made, "y" if last else g.fresh("between"))
        for name, value in ((f"h{at}n", h), (f"c{at}n", c)):
            if value:
                g.add("Identity", value, to=name)
                outputs[name] = [batch, hidden]
    shape = [batch, steps, hidden] if form.batch_first else [steps, batch, hidden]
    return g.model(inputs, {"y": shape, **outputs})
