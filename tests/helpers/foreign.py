"""ONNX files as other programs write them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal, tensor
from onnx import TensorProto, helper

from edgernn import api
from edgernn_exporters.onnx_import.proof import Runtimes

NODE = helper.make_node
INT64 = TensorProto.INT64


def dtln(name: str) -> Path:
    """Return one of DTLN's halves, or skip."""
    beside = Path(__file__).parents[3] / "shared" / "models"
    path = Path(os.environ.get("EDGERNN_MODELS") or beside) / "dtln" / name
    if not path.is_file():
        pytest.skip(f"no {path}; set EDGERNN_MODELS to a folder with dtln/")
    return path


def runtimes() -> Runtimes:
    from edgernn.api.opening import one_thread, plain

    return Runtimes(plain=plain(), load=one_thread())


def value(
    name: str, shape: Sequence[int | str] | None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def foreign(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    tensors: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
    listed: bool = False,
    **more: Any,
) -> onnx.ModelProto:
    """Make a model, unchecked; ``listed`` names the constants among the inputs, as old files do."""
    named = [value(t.name, list(t.dims), t.data_type) for t in tensors] if listed else []
    graph = helper.make_graph(
        list(nodes), "foreign", [*inputs, *named], list(outputs), list(tensors)
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, **more
    )


def lstm_model(*, hidden: int = 8, inputs: int = 4, **more: Any) -> onnx.ModelProto:
    """Make ``x [T, B, I], h, c -> y, hn, cn``."""
    node = NODE(
        "LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y4", "hn", "cn"], hidden_size=hidden,
        name="lstm",
    )  # fmt: skip
    tensors = [
        tensor("W", normal(0, 1, 4 * hidden, inputs, scale=0.3)),
        tensor("R", normal(1, 1, 4 * hidden, hidden, scale=0.3)),
        tensor("B", normal(2, 1, 8 * hidden, scale=0.3)),
    ]
    shape = [1, "batch", hidden]
    return foreign(
        [node, NODE("Identity", ["y4"], ["y"])],
        [value("x", ["time", "batch", inputs]), value("h", shape), value("c", shape)],
        [value("y", ["time", 1, "batch", hidden]), value("hn", shape), value("cn", shape)],
        tensors,
        **more,
    )


def voice_model(hidden: int = 16, *, opset: int = 16) -> onnx.ModelProto:
    """Make a voice detector: an ``If`` on the sample rate, and stacked states [2, batch, hidden].

    Nested in one branch is another ``If`` on the sample rate; both branches use the same names.
    """

    def branch(name: str, width: int, seed: int) -> onnx.GraphProto:
        slim = [0, width]
        nodes = [
            NODE("Constant", [], ["zero"], value_ints=[0]),
            NODE("Constant", [], ["first"], value_int=0),
            NODE("Constant", [], ["second"], value_int=1),
            NODE("Slice", ["frame", "starts", "ends", "axes"], ["used"]),
            NODE("Gather", ["state", "first"], ["h0"], axis=0),
            NODE("Gather", ["state", "second"], ["c0"], axis=0),
            NODE("Unsqueeze", ["h0", "zero"], ["h"]),
            NODE("Unsqueeze", ["c0", "zero"], ["c"]),
            NODE("Unsqueeze", ["used", "zero"], ["x"]),
            NODE("Transpose", ["Wt"], ["W"], perm=[0, 2, 1]),
            NODE("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "hn", "cn"],
                 hidden_size=hidden, name=f"{name}.lstm"),
            NODE("Concat", ["hn", "cn"], ["new_state"], axis=0),
            NODE("Squeeze", ["hn", "zero"], ["last"]),
            NODE("ReduceMean", ["last"], ["mean"], axes=[1], keepdims=1),
            NODE("Sigmoid", ["mean"], ["speech"]),
        ]  # fmt: skip
        tensors = [
            tensor("Wt", normal(seed, 1, width, 4 * hidden, scale=0.3)),
            tensor("R", normal(seed + 1, 1, 4 * hidden, hidden, scale=0.3)),
            tensor("B", normal(seed + 2, 1, 8 * hidden, scale=0.3)),
            tensor("starts", np.array(slim[:1])),
            tensor("ends", np.array(slim[1:])),
            tensor("axes", np.array([1])),
        ]
        outputs = [value("speech", None), value("new_state", None)]
        return helper.make_graph(nodes, name, [], outputs, tensors)

    inner = [
        NODE("Constant", [], ["rate8"], value_int=8000),
        NODE("Equal", ["sr", "rate8"], ["is8"]),
        NODE("If", ["is8"], ["speech8", "state8"], then_branch=branch("eight", 12, 10),
             else_branch=branch("other", 8, 20)),
    ]  # fmt: skip
    narrow = helper.make_graph(
        inner, "narrow", [], [value("speech8", None), value("state8", None)], []
    )
    nodes = [
        NODE("Constant", [], ["rate16"], value_int=16000),
        NODE("Equal", ["sr", "rate16"], ["is16"]),
        NODE("If", ["is16"], ["speech_out", "stateN"], then_branch=branch("sixteen", 24, 30),
             else_branch=narrow),
    ]  # fmt: skip
    return foreign(
        nodes,
        [value("frame", ["batch", 24]), value("state", [2, "batch", hidden]),
         value("sr", [], INT64)],
        [value("speech_out", ["batch", 1]), value("stateN", [2, "batch", hidden])],
        opset=opset,
    )  # fmt: skip


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def imported(path: Path, **options: Any) -> Any:
    """Import a file beside itself."""
    return api.import_onnx(path, path.with_name(f"clean.{path.name}"), **options)
