"""Models as other programs write them, and what an import makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Contract
from edgernn_exporters.onnx_import.contract import infer
from edgernn_exporters.onnx_import.folding import simplify
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.opsets import raise_opset
from edgernn_exporters.onnx_import.recognise import recognise

OPSET = 20


def prepared(path: Path) -> onnx.ModelProto:
    """Read a file, raise its opset, and fold its constants, as the import does."""
    model = onnx.load(path)
    raise_opset(model, Notes())
    simplify(model, Notes())
    return model


def inferred(
    model: onnx.ModelProto, **given: str
) -> tuple[onnx.ModelProto, Contract | None, Notes]:
    """Recognise cells, infer the contract, and check the result."""
    notes = Notes()
    before = model.SerializeToString(deterministic=True)
    changed, contract = infer(recognise(model, notes), given, notes)
    assert model.SerializeToString(deterministic=True) == before, "the model was changed"
    onnx.checker.check_model(changed, full_check=True)
    return changed, contract, notes


def run(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Run a model in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


class Graph:
    """Build a graph node by node: ``g.add("MatMul", x, w)`` returns the name of its output."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._count = 0

    def add(self, op_type: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        return self.many(op_type, *inputs, outputs=[to or self.fresh(op_type)], **attributes)[0]

    def many(self, op_type: str, *inputs: str, outputs: Any, **attributes: Any) -> list[str]:
        """Add a node with several outputs: their names, or how many there are."""
        if isinstance(outputs, int):
            outputs = [self.fresh(op_type) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, **attributes))
        return list(outputs)

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        """Add an initializer."""
        name = self.fresh("const")
        self.tensors.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        """Add an int64 initializer with one axis."""
        return self.const(values, np.int64)

    def fresh(self, word: str) -> str:
        """Return a new name."""
        self._count += 1
        return f"{self._prefix}{word.lower()}{self._count}"

    def model(
        self,
        inputs: Mapping[str, list[Any]],
        outputs: Mapping[str, list[Any]],
        **types: int,
    ) -> onnx.ModelProto:
        """Return the model; inputs and outputs have these shapes and are float32 by default."""

        def values(shapes: Mapping[str, list[Any]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(
            self.nodes, "foreign", values(inputs), values(outputs), self.tensors
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
