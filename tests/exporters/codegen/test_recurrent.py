"""Recurrent operators as C, against ONNX Runtime: attributes in pairs, steps and batch above 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import Floats, draw_parameters, run_onnx, tensor
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgernn_exporters.codegen import compile as generate
from edgernn_runtimes import native

ATOL = 2e-6
ONE = ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Softplus", "LeakyRelu",
       "ThresholdedRelu", "ScaledTanh", "Elu", "Affine"]  # fmt: skip
BOUNDED = ["Sigmoid", "Tanh", "HardSigmoid", "Softsign"]
OUTPUTS = [(True, True, True), (True, False, False), (False, True, True)]
PARTS = {"lstm": 3, "gru": 2, "rnn": 1}

FED = st.tuples(*[st.booleans()] * 4)


@dataclass
class Case:
    """One recurrent node, to be put into a graph together with others."""

    cell: str
    inputs: int
    hidden: int
    batch: int
    time: int
    direction: str
    bias: bool
    starts: bool
    layout: int
    lengths: list[int] | None
    seed: int
    outputs: tuple[bool, bool, bool] = (True, True, True)
    attributes: dict[str, Any] = field(default_factory=dict)
    peepholes: bool = False
    fed: tuple[bool, ...] = (False, False, False, False)
    """Which of W, R, B and P are inputs of the graph instead of constants."""

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1


@st.composite
def cases(draw: st.DrawFn) -> Case:
    cell = draw(st.sampled_from(["lstm", "gru", "rnn"]))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    attributes: dict[str, Any] = {}
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.3, 1.5]))
    if draw(st.booleans()):
        # An unbounded activation of the output makes numbers grow until floats differ.
        names = [
            draw(st.sampled_from(ONE if cell != "rnn" and part == 1 else BOUNDED))
            for _ in range(count)
            for part in range(PARTS[cell])
        ]
        attributes["activations"] = names
        count_all = len(names)
        if draw(st.booleans()):
            attributes["activation_alpha"] = [draw(st.sampled_from([0.2, 0.7]))] * count_all
            attributes["activation_beta"] = [draw(st.sampled_from([0.1, 0.6]))] * count_all
    if cell == "lstm":
        attributes["input_forget"] = draw(st.sampled_from([0, 1]))
    if cell == "gru":
        attributes["linear_before_reset"] = draw(st.sampled_from([0, 1]))
    lengths = None
    if draw(st.booleans()):
        lengths = [draw(st.integers(0, time)) for _ in range(batch)]
    return Case(
        cell=cell,
        inputs=draw(st.integers(1, 9)),
        hidden=draw(st.integers(1, 19)),
        batch=batch,
        time=time,
        direction=direction,
        bias=draw(st.booleans()),
        starts=draw(st.booleans()),
        layout=draw(st.sampled_from([0, 0, 1])),
        lengths=lengths,
        seed=draw(st.integers(0, 999)),
        outputs=draw(st.sampled_from(OUTPUTS)),
        attributes=attributes,
        peepholes=cell == "lstm" and draw(st.booleans()),
        fed=draw(st.sampled_from([(False,) * 4, (False,) * 4, (True,) * 4, draw(FED)])),
    )


class Graph:
    """A graph of several nodes, once as asked for and once in the form that ORT takes."""

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.feeds: dict[str, NDArray[Any]] = {}

    def feed(self, name: str, value: NDArray[Any]) -> str:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
        self.feeds[name] = value
        return name

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "recurrent", self.inputs, self.outputs, self.initializers
        )
        imports = [helper.make_opsetid("", 20)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def add(graph: Graph, case: Case, prefix: str, *, layout: int) -> None:
    rng = np.random.default_rng(case.seed)

    def draw(*shape: int) -> Floats:
        return rng.standard_normal(shape).astype(np.float32)

    def name(text: str) -> str:
        return f"{prefix}_{text}"

    def ordered(value: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.swapaxes(value, 0, 1)) if layout else value

    d, h = case.directions, case.hidden
    parameters = draw_parameters(
        case.cell, inputs=case.inputs, hidden=h, directions=d, bias=case.bias, scale=2.0,
        seed=case.seed,
    )  # fmt: skip
    names = [graph.feed(name("x"), ordered(draw(case.time, case.batch, case.inputs))),
             *[""] * 7]  # fmt: skip
    peepholes = draw(d, 3 * h) if case.peepholes else None
    places = {"W": 1, "R": 2, "B": 3, "P": 7}
    given = (parameters.w, parameters.r, parameters.b, peepholes)
    for letter, value, fed in zip("WRBP", given, case.fed, strict=True):
        if value is not None:
            names[places[letter]] = name(letter)
            if fed:
                graph.feed(name(letter), value)
            else:
                graph.initializers.append(tensor(name(letter), value))
    if case.lengths is not None:
        names[4] = graph.feed(name("n"), np.array(case.lengths, np.int32))
    start, cell_start = (np.tanh(draw(d, case.batch, h)) for _ in range(2))
    if case.starts:
        names[5] = graph.feed(name("h0"), ordered(start))
        if case.cell == "lstm":
            names[6] = graph.feed(name("c0"), ordered(cell_start))
    used = case.outputs[: 3 if case.cell == "lstm" else 2]
    texts = [name(text) if use else "" for text, use in zip(["y", "h", "c"], used, strict=False)]
    for text in filter(None, texts):
        graph.outputs.append(helper.make_tensor_value_info(text, TensorProto.FLOAT, None))
    graph.nodes.append(
        helper.make_node(
            case.cell.upper(), names[: 8 if case.cell == "lstm" else 6], texts, name=prefix,
            hidden_size=h, direction=case.direction, layout=layout, **case.attributes,
        )
    )  # fmt: skip


def swapped(name: str, value: NDArray[Any], case: Case) -> NDArray[Any]:
    """Bring a result of layout 1 to layout 0."""
    if not case.layout:
        return value
    return value.transpose(1, 2, 0, 3) if name.endswith("_y") else np.swapaxes(value, 0, 1)


def check(folder: Path, given_cases: list[Case], isa: str | None) -> None:
    asked, known = Graph(), Graph()
    for number, case in enumerate(given_cases):
        add(asked, case, f"n{number}", layout=case.layout)
        add(known, case, f"n{number}", layout=0)
    want = run_onnx(known.model(), known.feeds)
    for value in asked.outputs:
        case = given_cases[int(value.name[1 : value.name.index("_")])]
        shape = want[value.name].shape
        if case.layout:
            order = (2, 0, 1, 3) if value.name.endswith("_y") else (1, 0, 2)
            shape = tuple(shape[axis] for axis in order)
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    path = folder / "model.onnx"
    onnx.save(asked.model(), path)
    got = native.load(path, compile=generate, isa=isa).run(asked.feeds)
    for name, expected in want.items():
        case = given_cases[int(name[1 : name.index("_")])]
        np.testing.assert_allclose(
            swapped(name, got[name], case), expected, atol=ATOL * case.time, rtol=1e-5,
            err_msg=f"{name}: {case}",
        )  # fmt: skip


PHASES = [Phase.explicit, Phase.generate]  # each case calls a compiler, so shrinking takes minutes


@pytest.mark.parametrize("isa", ["portable", None])
@settings(max_examples=10, phases=PHASES)
@given(drawn=st.lists(cases(), min_size=10, max_size=10))
def test_recurrent_nodes_equal_onnx_runtime(
    drawn: list[Case], isa: str | None, tmp_path: Path
) -> None:
    check(tmp_path, drawn, isa)
