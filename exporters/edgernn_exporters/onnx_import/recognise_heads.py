"""Find the first step of a layer that starts from zeros, where its product with R was folded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.onnx_import.editing import ordered, reads
from edgernn_exporters.onnx_import.recognise_affine import Values
from edgernn_exporters.onnx_import.recognise_cells import Cell
from edgernn_exporters.onnx_nodes import is_standard

_SMOOTH = ("Add", "Sub", "Mul", "MatMul", "Gemm", "Sigmoid", "Tanh", "Split", "Slice", "Identity")
"""Two formulas of these that agree at points drawn at random are the same function."""
_DRAWS = (0.5, 2.0, 8.0)
_TOLERANCE = 1e-5
_MOST_NODES = 64


def with_heads(values: Values, lines: list[list[Cell]]) -> list[list[Cell]]:
    """Put the step before each line of steps in front of it, if it is one from zeros.

    Its operators have no product with the state any more, so it is recognised by its results: for
    random inputs they are those of the layer.

    Args:
        values: Of the graph.
        lines: Steps of layers.

    Returns:
        The lines; a first step that starts from zeros has no name of a state.
    """
    stops = {state for line in lines for cell in line for state in (cell.next_h, cell.h)}
    return [_with_head(values, line, stops) for line in lines]


def _with_head(values: Values, line: list[Cell], stops: set[str]) -> list[Cell]:
    first = line[0]
    made = [state for state in (first.h, first.c) if state]
    if (
        len(first.x) != 1
        or first.hard is not None
        or not all(values.varies(state) for state in made)
    ):
        return line
    found = _cone(values, made, stops - set(made))
    if found is None:
        return line
    nodes, x = found
    shape = values.shapes.get(x)
    if shape is None or shape != values.shapes.get(first.x[0]):
        return line
    if not all(isinstance(size, int) and size for size in shape):
        return line
    sizes = [int(size) for size in shape]
    head = replace(first, x=(x,), h="", c="", next_h=first.h, next_c=first.c)
    return [head, *line] if _agrees(values, nodes, head, made, sizes) else line


def _cone(
    values: Values, made: Iterable[str], stops: set[str]
) -> tuple[list[onnx.NodeProto], str] | None:
    """Return the operators that make these values, and the one value that they start from."""
    nodes: dict[str, onnx.NodeProto] = {}
    leaves: set[str] = set()
    pending = list(made)
    while pending:
        name = pending.pop()
        node = values.producers.get(name)
        if values.constant(name) is not None:
            continue
        if name in stops or node is None or not is_standard(node, *_SMOOTH):
            leaves.add(name)
        elif node.output[0] not in nodes:
            nodes[node.output[0]] = node
            pending.extend(reads(node))
        if len(nodes) > _MOST_NODES or len(leaves) > 1:
            return None
    if not nodes or len(leaves) != 1:
        return None
    return ordered(list(nodes.values()))[0], leaves.pop()


def _agrees(
    values: Values, nodes: list[onnx.NodeProto], head: Cell, made: list[str], shape: list[int]
) -> bool:
    """Tell whether the operators give what the layer gives for a step from zeros."""
    (x,) = head.x
    names = {name for node in nodes for name in reads(node)}
    tensors = [tensor for name in names if (tensor := values.tensor(name)) is not None]
    old = _model(values, nodes, x, shape, made, tensors)
    reset: dict[str, Any] = {} if head.next_c else {"linear_before_reset": head.linear_before_reset}
    layer = helper.make_node(
        head.op_type, ["x", "w", "r", "b"], ["", "h", *(["c"] if head.next_c else [])],
        hidden_size=head.hidden,
        **reset,
    )  # fmt: skip
    weights = [numpy_helper.from_array(np.ascontiguousarray(array[None]), name)
               for name, array in (("w", head.w), ("r", head.r), ("b", head.b))]  # fmt: skip
    new = _model(values, [layer], "x", [1, *shape], list(layer.output[1:]), weights)
    rng = np.random.default_rng(0)
    for scale in _DRAWS:
        value = (scale * rng.standard_normal(shape)).astype(np.float32)
        got, want = _run(old, {x: value}), _run(new, {"x": value[None]})
        if got is None or want is None:
            return False
        for one, other in zip(got, want, strict=True):
            if one.shape != other.shape[1:] or not np.abs(one - other[0]).max() <= _TOLERANCE:
                return False
    return True


def _model(
    values: Values, nodes: list[onnx.NodeProto], x: str, shape: list[int], outputs: list[str],
    tensors: list[onnx.TensorProto],
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(
        nodes, "step", [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=values.opsets)


def _run(
    model: onnx.ModelProto, feeds: dict[str, NDArray[np.float32]]
) -> list[NDArray[np.float32]] | None:
    try:
        return list(ReferenceEvaluator(model).run(None, feeds))
    except Exception:  # what the evaluator cannot do is no step that is known
        return None
