"""Random Scans for property tests: bodies, shapes, axes, directions, and what is around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from helpers.graphs import make_model, normal, tensor
from hypothesis import strategies as st
from onnx import TensorProto, helper

SIZES = st.integers(1, 5)
Shape = tuple[int, ...]


class Body:
    """A random body over named values of known shapes."""

    def __init__(self, draw: st.DrawFn, prefix: str, given: dict[str, Shape], outer: Outer) -> None:
        self.draw, self.prefix, self.outer = draw, prefix, outer
        self.values = dict(given)
        self.nodes: list[onnx.NodeProto] = []

    def pick(self, accept: Callable[[Shape], bool] = lambda shape: True) -> str | None:
        names = [name for name, shape in self.values.items() if accept(shape)]
        return self.draw(st.sampled_from(names)) if names else None

    def add(self, operator: str, inputs: list[str], shape: Shape, **attributes: Any) -> str:
        name = f"{self.prefix}v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.values[name] = shape
        return name

    def grow(self) -> None:
        getattr(self, f"_{self.draw(st.sampled_from(self.KINDS))}")()

    KINDS = ("unary", "binary", "matmul", "gemm", "norm", "transpose", "concat", "reduce", "scan",
             "split", "gru")  # fmt: skip

    def _unary(self) -> None:
        if name := self.pick():
            operator = self.draw(st.sampled_from(["Tanh", "Sigmoid", "Relu", "Identity"]))
            self.add(operator, [name], self.values[name])

    def _binary(self) -> None:
        a = self.pick()
        assert a is not None
        shape = self.values[a]
        b = self.pick(lambda other: other == shape) or a
        if self.draw(st.booleans()) and shape:
            b = self.outer.constant(shape[-1:])
        self.add(self.draw(st.sampled_from(["Add", "Mul", "Sub"])), [a, b], shape)

    def _matmul(self) -> None:
        if name := self.pick(lambda shape: len(shape) >= 1):
            *rest, k = self.values[name]
            n = self.draw(SIZES)
            product = self.add("MatMul", [name, self.outer.constant((k, n))], (*rest, n))
            if self.draw(st.booleans()):
                self.add("Add", [self.outer.constant((n,)), product], (*rest, n))

    def _gemm(self) -> None:
        if name := self.pick(lambda shape: len(shape) == 2):
            m, k = self.values[name]
            n = self.draw(SIZES)
            weights = [self.outer.constant((n, k)), self.outer.constant((n,))]
            self.add("Gemm", [name, *weights], (m, n), transB=1, alpha=0.5)

    def _norm(self) -> None:
        if name := self.pick(lambda shape: len(shape) >= 1 and shape[-1] > 2):
            scale = self.outer.constant(self.values[name][-1:])
            self.add("LayerNormalization", [name, scale], self.values[name])

    def _transpose(self) -> None:
        if name := self.pick(lambda shape: len(shape) == 2):
            self.add("Transpose", [name], self.values[name][::-1])

    def _concat(self) -> None:
        if name := self.pick(lambda shape: len(shape) >= 1):
            shape = self.values[name]
            self.add("Concat", [name, name], (shape[0] * 2, *shape[1:]), axis=0)

    def _reduce(self) -> None:
        if name := self.pick(lambda shape: len(shape) >= 1):
            shape = (*self.values[name][:-1], 1)
            self.add("ReduceMean", [name, self.outer.integers(-1)], shape)

    def _split(self) -> None:
        if name := self.pick(lambda shape: len(shape) >= 1 and shape[-1] % 2 == 0):
            shape = (*self.values[name][:-1], self.values[name][-1] // 2)
            names = [f"{self.prefix}s{len(self.nodes)}{part}" for part in "ab"]
            self.nodes.append(helper.make_node("Split", [name], names, axis=-1, num_outputs=2))
            self.values.update(dict.fromkeys(names, shape))

    def _gru(self) -> None:
        """A recurrent operator over one step, whose rows are those of the value."""
        if name := self.pick(lambda shape: len(shape) == 2):
            m, k = self.values[name]
            weights = [self.outer.constant((1, 6, k)), self.outer.constant((1, 6, 2))]
            three = self.add("Unsqueeze", [name, self.outer.integers(0)], (1, m, k))
            last = f"{self.prefix}g{len(self.nodes)}"
            self.nodes.append(helper.make_node("GRU", [three, *weights], ["", last], hidden_size=2))
            self.add("Squeeze", [last, self.outer.integers(0)], (m, 2))

    def _scan(self) -> None:
        """A sum over the first axis, which also reads a value of the body around it."""
        if self.prefix.count("_") > 1:
            return
        name = self.pick(lambda shape: len(shape) >= 1)
        other = self.pick(lambda shape: len(shape) <= 1)
        if name is None or other is None or name == other:
            return
        size, *rest = self.values[name]
        shape = np.broadcast_shapes((), tuple(rest))
        start = self.outer.constant(tuple(rest))
        inner = Body(self.draw, f"{self.prefix}n{len(self.nodes)}_", {}, self.outer)
        state, part = f"{inner.prefix}state", f"{inner.prefix}part"
        added = helper.make_node("Add", [state, part], [f"{inner.prefix}sum"])
        mean = helper.make_node("ReduceMean", [other], [f"{inner.prefix}mean"], keepdims=0)
        moved = helper.make_node(
            "Mul", [f"{inner.prefix}sum", f"{inner.prefix}mean"], [f"{inner.prefix}next"]
        )
        body = helper.make_graph(
            [added, mean, moved], "inner", [value(state, shape), value(part, shape)],
            [value(f"{inner.prefix}next", shape), value(f"{inner.prefix}sum", shape)],
        )  # fmt: skip
        last, every = (f"{self.prefix}v{len(self.nodes)}{kind}" for kind in ("last", "every"))
        self.nodes.append(
            helper.make_node(
                "Scan", [start, name], [last, every], body=body, num_scan_inputs=1,
                scan_input_directions=[self.draw(st.integers(0, 1))],
            )
        )  # fmt: skip
        self.values.update({last: shape, every: (size, *shape)})


class Outer:
    """The graph around: constants, inputs and outputs."""

    def __init__(self) -> None:
        self.initializers: list[onnx.TensorProto] = []
        self.feeds: dict[str, np.ndarray] = {}
        self.outputs: list[str] = []
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, shape: Shape) -> str:
        name = f"k{len(self.initializers)}"
        self.initializers.append(tensor(name, normal(len(self.initializers), *shape, scale=0.7)))
        return name

    def integers(self, *values: int) -> str:
        name = f"k{len(self.initializers)}"
        self.initializers.append(tensor(name, np.array(values, np.int64)))
        return name

    def feed(self, shape: Shape) -> str:
        name = f"x{len(self.feeds)}"
        self.feeds[name] = np.asarray(normal(1000 + len(self.feeds), *shape))
        return name

    def model(self, shapes: dict[str, Shape]) -> onnx.ModelProto:
        return make_model(
            self.nodes,
            {name: list(array.shape) for name, array in self.feeds.items()},
            {name: list(shapes[name]) for name in self.outputs},
            self.initializers,
        )


def value(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One random Scan, behind and before elementwise operators that are put off."""
    outer, steps, shapes = Outer(), draw(st.integers(1, 5)), {}
    states = [draw(st.lists(SIZES, max_size=2).map(tuple)) for _ in range(draw(st.integers(0, 2)))]
    parts = [draw(st.lists(SIZES, max_size=2).map(tuple)) for _ in range(draw(st.integers(1, 2)))]
    given, starts, scanned, axes = {}, [], [], []
    for place, shape in enumerate(states):
        starts.append(outer.constant(shape) if draw(st.booleans()) else outer.feed(shape))
        given[f"state{place}"] = shape
    for place, shape in enumerate(parts):
        axis = draw(st.integers(0, len(shape)))
        name = outer.feed((*shape[:axis], steps, *shape[axis:]))
        if draw(st.booleans()):
            outer.nodes.append(helper.make_node("Tanh", [name], [f"{name}_tanh"]))
            name = f"{name}_tanh"
        scanned.append(name)
        axes.append(axis - (len(shape) + 1) * draw(st.integers(0, 1)))
        given[f"part{place}"] = shape
    inside = dict(given)
    caught = outer.feed(draw(st.lists(SIZES, max_size=2).map(tuple)))
    outer.nodes.append(helper.make_node("Sigmoid", [caught], ["caught"]))
    inside["caught"] = outer.feeds[caught].shape
    body = Body(draw, "b_", inside, outer)
    for _ in range(draw(st.integers(1, 9))):
        body.grow()
    nexts = []
    for shape in states:
        name = body.pick(lambda other, shape=shape: other == shape)
        assert name is not None
        nexts.append(body.add("Tanh", [name], shape) if draw(st.booleans()) else name)
    nexts = [
        name if nexts.index(name) == place and name not in inside
        else body.add("Identity", [name], body.values[name])
        for place, name in enumerate(nexts)
    ]  # fmt: skip
    results = [
        body.add("Identity", [name], body.values[name]) if name in (*inside, *nexts) else name
        for name in (body.pick() for _ in range(draw(st.integers(0 if states else 1, 3))))
        if name is not None
    ]
    results = list(dict.fromkeys(results))
    attributes: dict[str, Any] = {
        "scan_input_axes": axes,
        "scan_input_directions": [draw(st.integers(0, 1)) for _ in scanned],
    }
    back = [draw(st.integers(0, len(body.values[name]))) for name in results]
    graph = helper.make_graph(
        body.nodes, "body", [value(name, shape) for name, shape in given.items()],
        [value(name, body.values[name]) for name in (*nexts, *results)],
    )  # fmt: skip
    if results:
        attributes["scan_output_axes"] = back
        attributes["scan_output_directions"] = [draw(st.integers(0, 1)) for _ in results]
    finals = [f"final{place}" for place in range(len(states))]
    wholes = [f"whole{place}" for place in range(len(results))]
    outer.nodes.append(
        helper.make_node(
            "Scan", [*starts, *scanned], [*finals, *wholes], name="scan", body=graph,
            num_scan_inputs=len(scanned), **attributes,
        )
    )  # fmt: skip
    for name, shape in zip(finals, states, strict=True):
        shapes[name] = shape
        outer.outputs.append(name)
    for name, part, axis in zip(wholes, results, back, strict=True):
        shape = body.values[part]
        shapes[name] = (*shape[:axis], steps, *shape[axis:])
        if draw(st.booleans()):
            outer.nodes.append(helper.make_node("Neg", [name], [f"{name}_neg"]))
            shapes[f"{name}_neg"] = shapes[name]
            outer.outputs.append(f"{name}_neg")
        else:
            outer.outputs.append(name)
    return outer.model(shapes), outer.feeds
