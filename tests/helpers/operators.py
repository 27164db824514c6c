"""Cases of single ONNX operators and small chains, many of them in one compiled library.

    check([case("Relu", x), case("Conv", x, Const(w), strides=[2])], tmp_path)
    check([case("Relu", Timed(x, 1))], tmp_path, causal=True, chunk=3)

All cases become one graph with inputs and outputs of their own. It is compiled to C once, and every
output is compared with ONNX Runtime's (with ONNX's reference where that lacks the operator).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from helpers.c_runner import CLibrary, CProgram
from hypothesis import Phase, settings
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.metadata import Metadata

Array = NDArray[Any]


def examples(number: int) -> settings:
    """Return settings for tests whose examples are lists of cases: the message names the case."""
    return settings(max_examples=number, phases=[Phase.generate])


@dataclass(frozen=True)
class Const:
    """An input that is an initializer."""

    value: Any


@dataclass(frozen=True)
class Timed:
    """An input of the graph with a time axis."""

    value: Any
    axis: int


@dataclass(frozen=True)
class Case:
    """Nodes over named operands; ``outputs`` are what is compared."""

    nodes: tuple[onnx.NodeProto, ...]
    operands: Mapping[str, Any]
    outputs: tuple[str, ...]
    exact: bool = False
    where: str = ""

    def __repr__(self) -> str:
        return self.where

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.where)


@dataclass
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: dict[str, tuple[Array, int | None]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


def case(
    operator: str, *operands: Any, results: int = 1, exact: bool = False, **attributes: Any
) -> Case:
    """Return a case of one node; an operand is an array, `Const`, `Timed`, or None if left out."""
    names = ["" if item is None else f"a{place}" for place, item in enumerate(operands)]
    outputs = tuple(f"r{place}" for place in range(results))
    node = helper.make_node(operator, names, list(outputs), **attributes)
    given = {name: item for name, item in zip(names, operands, strict=True) if name}
    shapes = [np.shape(getattr(item, "value", item)) for item in given.values()]
    return Case((node,), given, outputs, exact, f"{operator} {shapes} {attributes}")


def chain(text: str, outputs: str, **operands: Any) -> Case:
    """Return a case of several nodes in ONNX's text form, such as ``y = Relu (x)``, one a line."""
    graph = onnx.parser.parse_graph(f"g () => () {{\n{text}\n}}")
    return Case(tuple(graph.node), operands, tuple(outputs.split()), where=text)


def check(
    cases: Sequence[Case],
    folder: Path,
    *,
    opset: int = 21,
    causal: bool | None = None,
    chunk: int | None = None,
    rtol: float = 1e-5,
    atol: float = 2e-6,
    program: bool = False,
    **options: Any,
) -> CLibrary | CProgram:
    """Compile all cases and compare; ``causal`` is None for a model without a contract."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    graph = _joined(cases)
    feeds = {name: value for name, (value, _) in graph.inputs.items()}
    expected = _expected(cases, graph, feeds, opset)
    shorter = None
    if causal is not None:
        cut = {name: _cut(value, axis) for name, (value, axis) in graph.inputs.items()}
        shorter = _expected(cases, graph, cut, opset)
    model = _model(graph, expected, shorter, opset, causal=causal)
    if causal is False:
        options["max_steps"] = _steps(graph)
    make = CProgram if program else CLibrary
    library = make(model, folder / "net", chunk=chunk, **options)
    assert library.project.fallback == ()
    results = library.run(feeds)
    for number, item in enumerate(cases):
        for output in item.outputs:
            name = f"c{number}_{output}"
            want, got = expected[name], results[name]
            assert got.shape == want.shape, f"{item.where}: {got.shape} is not {want.shape}"
            if item.exact or want.dtype.kind != "f":
                np.testing.assert_array_equal(got, want, err_msg=item.where)
            else:
                np.testing.assert_allclose(got, want, rtol, atol, err_msg=item.where)
    return library


def model_of(cases: Sequence[Case], *, opset: int = 21) -> onnx.ModelProto:
    """Return the graph of all cases, with the output shapes that ONNX infers."""
    graph = _joined(cases)
    feeds = {name: value for name, (value, _) in graph.inputs.items()}
    return onnx.shape_inference.infer_shapes(_make(graph, feeds, {}, opset))


def _joined(cases: Sequence[Case]) -> _Graph:
    graph = _Graph()
    for number, item in enumerate(cases):
        inner = {name: f"c{number}_{name}" for name in item.operands}
        for node in item.nodes:
            for name in (*node.input, *node.output):
                if name:
                    inner[name] = f"c{number}_{name}"
        for node in item.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            del copy.input[:], copy.output[:]
            copy.input.extend(inner.get(name, "") for name in node.input)
            copy.output.extend(inner.get(name, "") for name in node.output)
            graph.nodes.append(copy)
        for name, operand in item.operands.items():
            if isinstance(operand, Const):
                value = np.asarray(operand.value)
                graph.initializers.append(numpy_helper.from_array(value, inner[name]))
            elif isinstance(operand, Timed):
                graph.inputs[inner[name]] = (np.asarray(operand.value), operand.axis)
            else:
                graph.inputs[inner[name]] = (np.asarray(operand), None)
        graph.outputs.extend(inner[name] for name in item.outputs)
    return graph


def _expected(
    cases: Sequence[Case], graph: _Graph, feeds: Mapping[str, Array], opset: int
) -> dict[str, Array]:
    model = _make(graph, feeds, {}, opset)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(graph.outputs, dict(feeds))
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error) and "NotImplemented" not in type(error).__name__:
            raise AssertionError(f"{error}: {[item.where for item in cases]}") from None
        values = ReferenceEvaluator(model).run(graph.outputs, dict(feeds))
    return dict(zip(graph.outputs, values, strict=True))


def _model(
    graph: _Graph,
    expected: Mapping[str, Array],
    shorter: Mapping[str, Array] | None,
    opset: int,
    *,
    causal: bool | None,
) -> onnx.ModelProto:
    feeds = {name: value for name, (value, _) in graph.inputs.items()}
    if shorter is None:
        return _make(graph, feeds, expected, opset)
    times: dict[str, int | None] = {name: axis for name, (_, axis) in graph.inputs.items()}
    for name, value in expected.items():
        pairs = zip(value.shape, shorter[name].shape, strict=True)
        moving = [axis for axis, (a, b) in enumerate(pairs) if a != b]
        times[name] = moving[0] if moving else None
    model = _make(graph, feeds, expected, opset, times)
    spec = StreamSpec(
        bool(causal),
        {name: Axes(None, times[name]) for name in graph.inputs},
        {name: Axes(None, times[name]) for name in graph.outputs},
    )
    helper.set_model_props(model, Metadata(contract=Contract((), spec)).to_props())
    return model


def _make(
    graph: _Graph,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    opset: int,
    times: Mapping[str, int | None] | None = None,
) -> onnx.ModelProto:
    def described(name: str, value: Array) -> onnx.ValueInfoProto:
        shape: list[int | str] = list(value.shape)
        axis = (times or {}).get(name)
        if axis is not None:
            shape[axis] = "time"
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, shape)

    made = helper.make_graph(
        graph.nodes,
        "cases",
        [described(name, value) for name, value in inputs.items()],
        [
            described(name, outputs[name])
            if name in outputs
            else helper.make_empty_tensor_value_info(name)
            for name in graph.outputs
        ],
        graph.initializers,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _cut(value: Array, axis: int | None) -> Array:
    """Return an input with two time steps less."""
    return value if axis is None else np.take(value, range(value.shape[axis] - 2), axis)


def _steps(graph: _Graph) -> int:
    return next(value.shape[axis] for value, axis in graph.inputs.values() if axis is not None)
