"""How the sizes of a graph's tensors depend on batch and time: by inferring them at several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Contract
from edgernn_exporters.onnx_graphs import fold, folded_elements

# Two of each, far from the sizes that models have; nothing of these sizes is ever allocated.
_BATCHES = (1009, 1013)
_TIMES = (100_003, 100_019)
_SMALL_ELEMENTS = 4096  # constants up to here may be shapes, so their values are kept
_ROUNDS = 8  # of sizes that depend on sizes


@dataclass(frozen=True)
class Size:
    """The size of one axis: ``base + batch * B + time * T``.

    Attributes:
        base: Constant part.
        batch: Factor of the batch size.
        time: Factor of the time steps.
        mixed: True for sizes that are no such sum, as where batch and time are one axis.
    """

    base: int
    batch: int = 0
    time: int = 0
    mixed: bool = False

    @property
    def grows(self) -> bool:
        """Whether the size depends on the time steps."""
        return self.time != 0 or self.mixed

    @property
    def is_batch(self) -> bool:
        """Whether the size is that of the batch."""
        return (self.base, self.batch, self.time, self.mixed) == (0, 1, 0, False)

    @property
    def is_time(self) -> bool:
        """Whether it is the time steps, or some more or less than that."""
        return (self.batch, self.time, self.mixed) == (0, 1, False)


class Sizes:
    """The sizes and types of all tensors of a graph.

    Args:
        model: Its constants are initializers.
        contract: Says which axes of the inputs are batch and time.
    """

    def __init__(self, model: onnx.ModelProto, contract: Contract) -> None:
        light = _without_weights(model)
        self._found: list[dict[str, tuple[int, ...]]] = []
        self.dtypes: dict[str, int] = {}
        for batch, time in ((0, 0), (1, 0), (0, 1)):
            given = onnx.ModelProto()
            given.CopyFrom(light)
            _fix(given, contract, _BATCHES[batch], _TIMES[time])
            shapes, dtypes = sizes_of(given)
            self._found.append(shapes)
            self.dtypes |= dtypes

    def shape(self, name: str) -> tuple[Size, ...] | None:
        """Return the sizes of a tensor, or None if they are unknown."""
        base, more_rows, longer = (found.get(name) for found in self._found)
        if base is None or more_rows is None or longer is None:
            return None
        if not len(base) == len(more_rows) == len(longer):
            return None
        return tuple(_size(*sizes) for sizes in zip(base, more_rows, longer, strict=True))

    def elements(self, name: str, axes: slice) -> tuple[int, ...]:
        """Return the product of some axes of a known shape, for each of the sizes tried."""
        return tuple(math.prod(found[name][axes]) for found in self._found)


def sizes_of(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Infer shapes, through sizes that are computed from sizes, which inference alone cannot.

    Args:
        model: The sizes of its inputs are known; what is computed from them becomes constants.

    Returns:
        The shapes that are known in full, and the ONNX element types, by name.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, int] = {}
    removed: dict[str, tuple[int, ...]] = {}
    for _ in range(_ROUNDS):
        try:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            return {}, dtypes  # nothing is known then
        shapes = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dtypes[value.name] = kind.elem_type
            if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
                shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
        for tensor in graph.initializer:
            dtypes[tensor.name] = tensor.data_type
            shapes[tensor.name] = tuple(tensor.dims)
        found = _computed(model, shapes)
        if not found:
            break
        removed |= {tensor.name: tuple(tensor.dims) for tensor in found}
    return {**removed, **shapes}, dtypes


def _computed(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> list[onnx.TensorProto]:
    """Replace what is computed from sizes by constants, for shape inference follows little of it.

    Returns:
        The new constants.
    """
    graph = model.graph
    known = {t.name: t for t in graph.initializer if math.prod(t.dims) <= _SMALL_ELEMENTS}
    results = {value.name for value in graph.output}
    found: dict[str, onnx.TensorProto] = {}
    kept = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        values: dict[str, Any] | None = None
        if node.op_type == "Shape" and node.input[0] in shapes:
            values = _shape_of(node, shapes[node.input[0]])
        elif any(name in found for name in inputs) and all(name in known for name in inputs):
            arrays = {name: numpy_helper.to_array(known[name]) for name in inputs}
            size = folded_elements(node, arrays, model)
            if size is not None and size <= _SMALL_ELEMENTS:
                values = fold(node, arrays, model, size)
        if not values or results.intersection(node.output):
            kept.append(node)
            continue
        new = {name: numpy_helper.from_array(array, name) for name, array in values.items()}
        found |= new
        known |= new
    if found:
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(found.values())
    return list(found.values())


def _shape_of(node: onnx.NodeProto, shape: tuple[int, ...]) -> dict[str, Any]:
    given = {item.name: item.i for item in node.attribute}
    return {node.output[0]: np.array(shape[given.get("start", 0) : given.get("end")], np.int64)}


def _size(base: int, more_rows: int, longer: int) -> Size:
    rows, times = _BATCHES[0], _TIMES[0]
    by_batch, rest = divmod(more_rows - base, _BATCHES[1] - rows)
    by_time, left = divmod(longer - base, _TIMES[1] - times)
    if rest or left or (by_batch and by_time):
        return Size(base, mixed=True)
    return Size(base - by_batch * rows - by_time * times, by_batch, by_time)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose large constants are inputs, so that copies of it cost little."""
    light = onnx.ModelProto()
    light.CopyFrom(_outline(model))
    large: list[TensorProto] = []
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL_ELEMENTS:
            light.graph.initializer.append(tensor)
        else:
            large.append(tensor)
    there = {value.name for value in light.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tuple(tensor.dims))
        for tensor in large
        if tensor.name not in there
    )
    return light


def _outline(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without constants and without the sizes of inner and output values."""
    graph = onnx.GraphProto(name=model.graph.name)
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(
        helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
        for value in model.graph.output
    )
    return onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        graph=graph,
    )


def _fix(model: onnx.ModelProto, contract: Contract, batch: int, time: int) -> None:
    """Give the batch and time axes of the inputs a size, where the graph leaves it open."""
    places: Mapping[str, Sequence[tuple[int | None, int]]] = {
        **{name: ((axes.batch, batch), (axes.time, time))
           for name, axes in contract.stream.inputs.items()},
        **{state.input: ((state.batch_axis, batch),) for state in contract.states},
    }  # fmt: skip
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, size in places.get(value.name, ()):
            if axis is not None and not dims[axis].HasField("dim_value"):
                dims[axis].dim_value = size
