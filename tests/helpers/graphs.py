"""ONNX graphs of single layers, and a way to run them in plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from helpers.models import GATES
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """Weights of one recurrent node in ONNX's layout; ``b`` is None without bias."""

    w: Floats
    r: Floats
    b: Floats | None


def draw_parameters(
    cell: str,
    *,
    inputs: int,
    hidden: int,
    directions: int = 1,
    bias: bool = True,
    scale: float = 1.0,
    seed: int = 0,
) -> Parameters:
    rng = np.random.default_rng(seed)
    rows, reach = GATES[cell] * hidden, scale * hidden**-0.5

    def draw(*shape: int) -> Floats:
        return rng.uniform(-reach, reach, shape).astype(np.float32)

    return Parameters(
        draw(directions, rows, inputs),
        draw(directions, rows, hidden),
        draw(directions, 2 * rows) if bias else None,
    )


def recurrent_model(
    cell: str,
    parameters: Parameters,
    *,
    states: bool = True,
    opset: int = 20,
    ir_version: int = 10,
    extra_inputs: Mapping[int, tuple[str, Any]] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """Make ``x [T, B, I] (, h, c) -> y [T, D, B, H], hk (, ck)`` around one node."""
    directions, _, hidden = parameters.r.shape
    letters = "hc" if cell == "lstm" else "h"
    initializers = [numpy_helper.from_array(parameters.w, "W"),
                    numpy_helper.from_array(parameters.r, "R")]  # fmt: skip
    names = ["x", "W", "R", ""]
    if parameters.b is not None:
        initializers.append(numpy_helper.from_array(parameters.b, "B"))
        names[3] = "B"
    names += ["", *(letters if states else [""] * len(letters))]
    for place, (name, value) in (extra_inputs or {}).items():
        names += [""] * (place + 1 - len(names))
        names[place] = name
        initializers.append(numpy_helper.from_array(np.asarray(value), name))
    node = helper.make_node(
        cell.upper(), names, ["y", *(f"{s}k" for s in letters)], name="cell",
        hidden_size=hidden, **attributes,
    )  # fmt: skip
    state_shape = [directions, "batch", hidden]
    return make_model(
        [node],
        {"x": ["time", "batch", parameters.w.shape[2]]}
        | (dict.fromkeys(letters, state_shape) if states else {}),
        {"y": ["time", directions, "batch", hidden]} | {f"{s}k": state_shape for s in letters},
        initializers,
        opset=opset,
        ir_version=ir_version,
    )


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 20,
    ir_version: int = 10,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    graph = helper.make_graph(
        list(nodes),
        "test",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, shape) for name, shape in outputs.items()],
        list(initializers),
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in {item.domain for item in functions}]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=ir_version, functions=functions
    )
    onnx.checker.check_model(model)
    return model


def tensor(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def open_onnx(model: onnx.ModelProto, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_onnx(
    model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]], *, optimized: bool = True
) -> dict[str, NDArray[Any]]:
    session = open_onnx(model, optimized=optimized)
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def normal(seed: int, *shape: int, scale: float = 1.0) -> Floats:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)
