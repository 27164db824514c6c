"""Find out by evaluation which element of which tensor ends up where, and what is constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.causal.sizes import sizes_of
from edgernn_exporters.onnx_nodes import attributes, is_standard

_VIEWS = (
    "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split",
    "Gather", "Concat",
)  # fmt: skip
_FILLS = (
    *_VIEWS, "Shape", "ConstantOfShape", "Expand", "Tile", "Cast", "Add", "Sub", "Mul", "Div",
    "Equal", "Where", "Range", "ReduceProd", "Min", "Max",
)  # fmt: skip
_MOST_ELEMENTS = 1 << 22  # of a tensor that is evaluated: states and shapes are far smaller
_SMALL = 64
_DEEPEST = 100  # views of views, or sizes of sizes; longer chains are not followed
_STRIDE = 1 << 32


@dataclass(frozen=True)
class Positions:
    """Say for each element of a tensor from where it was taken.

    Attributes:
        roots: Names of tensors that are no views of others.
        root: Place in ``roots`` of each element.
        index: Flat position in the root.
    """

    roots: tuple[str, ...]
    root: NDArray[np.int64]
    index: NDArray[np.int64]


def frozen(model: onnx.ModelProto, size: Callable[[str], int] | None) -> onnx.ModelProto:
    """Return a model without large weights, with each named axis of its inputs at a size.

    Only its shapes are of use. Large constants become inputs.

    Args:
        model: Not changed.
        size: Gives the size of an axis by its name; None keeps the names.
    """
    copy = onnx.ModelProto(ir_version=model.ir_version)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    graph = copy.graph
    graph.name = "frozen"
    graph.node.extend(model.graph.node)
    constants = {t.name for t in model.graph.initializer}
    graph.input.extend(v for v in model.graph.input if v.name not in constants)
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if size is not None and not dim.HasField("dim_value"):
                dim.dim_value = size(dim.dim_param or f"{value.name}.{axis}")
    for tensor in model.graph.initializer:
        if is_large(tensor):
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
            )
        else:
            graph.initializer.append(tensor)
    graph.output.extend(
        helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, None)
        for v in model.graph.output
    )
    return copy


def is_large(tensor: onnx.TensorProto) -> bool:
    """Tell whether `frozen` leaves a constant out."""
    return tensor.data_type == TensorProto.FLOAT and int(np.prod(tensor.dims)) > _SMALL


def inferred_graph(model: onnx.ModelProto) -> onnx.GraphProto:
    """Return the graph with the shapes that inference finds; none where it fails."""
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return model.graph


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes that can be inferred in full, of constants too; may change the model."""
    return sizes_of(model)[0]


class Tracer:
    """Trace values of a graph; each axis with a name counts as 2 long.

    Args:
        model: Of opset 13 or later; not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.shapes = shapes_of(frozen(model, lambda _: 2))
        self._producers = {n: node for node in model.graph.node for n in node.output if n}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._roots: dict[str, int] = {}
        self._ids: dict[str, NDArray[np.int64] | None] = {}
        self._values: dict[str, NDArray[np.generic] | None] = {}
        self._depth = 0
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}

    def positions(self, name: str) -> Positions | None:
        """Return from where each element of a value comes, or None if that cannot be told."""
        ids = self.ids(name)
        if ids is None:
            return None
        numbers, flat = np.unique(ids // _STRIDE, return_inverse=True)
        names = {number: root for root, number in self._roots.items()}
        roots = tuple(names[int(number)] for number in numbers)
        return Positions(roots, flat.reshape(ids.shape), ids % _STRIDE)

    def value(self, name: str) -> NDArray[np.generic] | None:
        """Return a value that depends on no input, only perhaps on their shapes; else None."""
        if name not in self._values:
            self._values[name] = None  # until it is known; a graph has no cycles
            self._depth += 1
            self._values[name] = self._evaluate(name) if self._depth <= _DEEPEST else None
            self._depth -= 1
        return self._values[name]

    def ids(self, name: str) -> NDArray[np.int64] | None:
        """Return a number for each element that tells where it comes from, or None."""
        if name not in self._ids:
            self._ids[name] = None
            self._depth += 1
            self._follow(name)
            self._depth -= 1
        return self._ids[name]

    def _follow(self, name: str) -> None:
        node = self._producers.get(name)
        if node is None or not is_standard(node, *_VIEWS) or self._depth > _DEEPEST:
            self._ids[name] = self._root(name)
            return
        if any(self._is_too_large(output) for output in node.output if output):
            return
        data = list(node.input) if node.op_type == "Concat" else [node.input[0]]
        feeds: dict[str, NDArray[np.generic]] = {}
        for given in filter(None, node.input):
            found = self.ids(given) if given in data else self.value(given)
            if found is None:
                return
            feeds[given] = found
        for output, value in self._run(node, feeds).items():
            self._ids[output] = value.astype(np.int64)

    def _root(self, name: str) -> NDArray[np.int64] | None:
        shape = self.shapes.get(name)
        if shape is None or self._is_too_large(name):
            return None
        number = self._roots.setdefault(name, len(self._roots))
        return number * _STRIDE + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)

    def _evaluate(self, name: str) -> NDArray[np.generic] | None:
        if name in self._constants:
            return numpy_helper.to_array(self._constants[name])
        node = self._producers.get(name)
        if node is None or not is_standard(node, *_FILLS):
            return None
        if node.op_type == "Shape":
            shape = self.shapes.get(node.input[0])
            given = attributes(node)
            part = slice(given.get("start", 0), given.get("end"))
            return None if shape is None else np.array(shape[part], np.int64)
        feeds = {}
        for given in filter(None, node.input):
            value = self.value(given)
            if value is None or value.size > _MOST_ELEMENTS:
                return None
            feeds[given] = value
        if name not in self.shapes or self._is_too_large(name):
            return None
        return self._run(node, feeds).get(name)

    def _is_too_large(self, name: str) -> bool:
        return bool(np.prod(self.shapes.get(name, ()), dtype=float) > _MOST_ELEMENTS)

    def _run(
        self, node: onnx.NodeProto, feeds: dict[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        names = [name for name in node.output if name]
        try:
            values = ReferenceEvaluator(_alone(node, feeds, self._opsets)).run(names, feeds)
        except Exception:  # whatever the evaluator cannot do is not known
            return {}
        return dict(zip(names, values, strict=True))


def _alone(
    node: onnx.NodeProto, feeds: dict[str, NDArray[np.generic]], opsets: dict[str, int]
) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()]
    )
