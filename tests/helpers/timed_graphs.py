"""Small graphs with a time axis, run whole and in chunks by plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from helpers.graphs import make_model, open_onnx, tensor
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn.contract import ZEROS, Axes, Contract, StateSpec, StreamSpec

Array = NDArray[Any]


class Graph:
    """Collect nodes and constants; every method returns the name of what it added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"{kind.lower()}{len(self.nodes)}"
        output = f"{name}.y"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def const(self, value: Any, dtype: Any = None) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(tensor(name, np.asarray(value, dtype)))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def random(self, seed: int, *shape: int) -> str:
        return self.const(np.random.default_rng(seed).standard_normal(shape), np.float32)

    def pad(self, x: str, rank: int, axis: int, before: int, after: int = 0, fill: float = 0,
            **attributes: Any) -> str:  # fmt: skip
        pads = [0] * (2 * rank)
        pads[axis], pads[axis + rank] = before, after
        value = [] if fill == 0 else [self.const(fill, np.float32)]
        return self.op("Pad", x, self.ints(*pads), *value, **attributes)

    def cut(self, x: str, axis: int, begin: int, end: int, **attributes: Any) -> str:
        return self.op(
            "Slice", x, self.ints(begin), self.ints(end), self.ints(axis), **attributes
        )  # fmt: skip

    def model(
        self, y: str, x_shape: Sequence[int | str], y_shape: Sequence[int | str]
    ) -> onnx.ModelProto:
        """Return the model ``x -> y``."""
        last = helper.make_node("Identity", [y], ["y"], name="out")
        return make_model([*self.nodes, last], {"x": x_shape}, {"y": y_shape}, self.constants)


def contract_for(x: Axes, y: Axes, states: Sequence[StateSpec] = ()) -> Contract:
    return Contract(tuple(states), StreamSpec(causal=True, inputs={"x": x}, outputs={"y": y}))


def run_chunks(
    model: onnx.ModelProto, contract: Contract, x: Array, chunks: Sequence[int]
) -> Array:
    """Run a model by its contract, some steps a call, and join ``y``."""
    session = open_onnx(model)
    axes = contract.stream.inputs["x"]
    assert axes.time is not None
    batch = 1 if axes.batch is None else x.shape[axes.batch]
    states = {state.input: _first(model, state, batch) for state in contract.states}
    names = ["y", *(state.output for state in contract.states)]
    pieces, place = [], 0
    for count in chunks:
        part = np.take(x, range(place, place + count), axes.time)
        y, *after = session.run(names, {"x": part, **states})
        states = {state.input: v for state, v in zip(contract.states, after, strict=True)}
        pieces.append(y)
        place += count
    time = contract.stream.outputs["y"].time
    return pieces[-1] if time is None else np.concatenate(pieces, time)


def _first(model: onnx.ModelProto, state: StateSpec, batch: int) -> Array:
    (value,) = [value for value in model.graph.input if value.name == state.input]
    shape = [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
    shape[state.batch_axis] = batch
    if state.init == ZEROS:
        return np.zeros(shape, state.dtype)
    (first,) = [t for t in model.graph.initializer if t.name == state.init]
    return np.array(np.broadcast_to(numpy_helper.to_array(first), shape))
