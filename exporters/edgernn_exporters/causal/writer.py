"""Write the graph that streams: nodes, caches and their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn.contract import ZEROS, Contract, StateSpec
from edgernn_exporters.causal.sizes import Size
from edgernn_exporters.causal.values import Array, Timed, frames, history, refusal
from edgernn_exporters.onnx_nodes import subgraphs


class Writer:
    """Collect the nodes, constants and states of the new graph.

    Args:
        model: The model that is rewritten; not changed.
        contract: Its contract.
    """

    def __init__(self, model: onnx.ModelProto, contract: Contract) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.states: list[StateSpec] = []
        self._model, self._contract = model, contract
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._integers: dict[tuple[int, ...], str] = {}
        self._joined: dict[tuple[str, int, bytes], str] = {}
        self._next: dict[str, str] = {}
        self._rows: set[str] = set()
        self._cut: dict[tuple[str, int], str] = {}
        graph = model.graph
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken |= {value.name for value in (*graph.input, *graph.output)}
        self._taken |= {tensor.name for tensor in graph.initializer}
        self._batch = _batch_dim(model, contract)

    def unique(self, name: str) -> str:
        """Return a name that nothing has yet."""
        candidate, number = name, 1
        while candidate in self._taken:
            number += 1
            candidate = f"{name}#{number}"
        self._taken.add(candidate)
        return candidate

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output, named after it, and return the output."""
        output = self.unique(name)
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        """Add a constant and return its name."""
        unique = self.unique(name)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), unique))
        return unique

    def integers(self, *values: int) -> str:
        """Return the name of a constant with these int64 values."""
        if values not in self._integers:
            text = "_".join(map(str, values)).replace("-", "minus")
            self._integers[values] = self.constant(f"int_{text}", np.array(values, np.int64))
        return self._integers[values]

    def joined(
        self, value: Timed, count: int, shape: Sequence[Size], dtype: int, label: str
    ) -> str:
        """Put the last ``count`` frames of earlier calls before a sequence.

        Args:
            value: The sequence.
            count: Frames, 1 or more.
            shape: Its sizes; that of the time axis is not looked at.
            dtype: Its ONNX element type.
            label: The cache is ``LABEL.cache``.

        Returns:
            The tensor that holds both.
        """
        axis = value.axis
        sizes = one_row(shape, axis, count)
        first = history(value, count, sizes, np.dtype(helper.tensor_dtype_to_np_dtype(dtype)))
        key = (value.name, count, first.tobytes())
        if key not in self._joined:
            cache = self.state(f"{label}.cache", first, shape, axis, dtype)
            joined = self.node("Concat", [cache, value.name], f"{label}.joined", axis=axis)
            self.next_state(cache, joined, (-count, 2**63 - 1), axis)
            self._joined[key] = joined
        return self._joined[key]

    def delayed(
        self, value: Timed, count: int, shape: Sequence[Size], dtype: int, label: str
    ) -> Timed:
        """Hold a sequence back by ``count`` frames, 0 or more; see `joined` for the rest."""
        if count == 0:
            return value
        joined = self.joined(value, count, shape, dtype, label)
        key = (joined, count)
        if key not in self._cut:
            ends = [self.integers(0), self.integers(-count), self.integers(value.axis)]
            self._cut[key] = self.node("Slice", [joined, *ends], f"{label}.delayed")
        late = value.late + count
        prefix = None
        if late < 0:
            assert value.prefix is not None
            prefix = frames(value.prefix, value.axis, 0, -late)
        return replace(value, name=self._cut[key], late=late, prefix=prefix)

    def state(self, name: str, first: Array, shape: Sequence[Size], axis: int, dtype: int) -> str:
        """Add a state and return the tensor that holds its value.

        Args:
            name: Of its input, if it is free.
            first: Its first value, with a batch of 1.
            shape: Sizes of the sequence that its frames are from.
            axis: Time axis.
            dtype: ONNX element type.
        """
        given = self.unique(name)
        after = self._next[given] = self.unique(f"{given}.next")
        batch_axis = self._batch_axis(name, shape, axis)
        if batch_axis is None:  # a model of single sequences; a state has rows all the same
            first, batch_axis = first[None], 0
        dims: list[int | str] = list(first.shape)
        if first.ndim == len(shape) and shape[batch_axis].is_batch:
            dims[batch_axis] = self._batch
        first_row = np.take(first, [0], batch_axis)
        init = self.constant(f"{given}.init", first_row) if first.any() else ZEROS
        self._inputs.append(helper.make_tensor_value_info(given, dtype, dims))
        self._outputs.append(helper.make_tensor_value_info(after, dtype, dims))
        kind = helper.tensor_dtype_to_np_dtype(dtype).name
        self.states.append(StateSpec(given, after, batch_axis, kind, init))
        if first.ndim == len(shape):
            return given
        row = self.node("Squeeze", [given, self.integers(0)], f"{given}.row")
        self._next[row] = after
        self._rows.add(row)
        return row

    def next_state(self, state: str, source: str, cut: tuple[int, int], axis: int) -> None:
        """Say that frames ``cut[0]`` to ``cut[1]`` of a tensor are the next value of a `state`."""
        places = [self.integers(cut[0]), self.integers(cut[1]), self.integers(axis)]
        after = self._next[state]
        if state in self._rows:
            row = self.node("Slice", [source, *places], f"{state}.next")
            self.nodes.append(
                helper.make_node("Unsqueeze", [row, self.integers(0)], [after], name=after)
            )
            return
        self.nodes.append(helper.make_node("Slice", [source, *places], [after], name=after))

    def give(self, output: str, source: str) -> None:
        """Return a tensor as a graph output, in place of a tensor of that name."""
        early = self.unique(f"{output}.early")
        for node in self.nodes:
            rename(node, {output: early})
            node.output[:] = [early if name == output else name for name in node.output]
        self.nodes.append(helper.make_node("Identity", [source], [output], name=output))

    def finished(self) -> tuple[onnx.ModelProto, Contract]:
        """Return the new model, without nodes that nothing reads, and its contract."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        graph.output.extend(self._outputs)
        graph.input.extend(self._inputs)
        del graph.value_info[:]
        live = live_nodes(self.nodes, [value.name for value in graph.output])
        del graph.node[:]
        graph.node.extend(live)
        graph.initializer.extend(self._constants)
        inits = {state.init for state in (*self._contract.states, *self.states)}
        read = {name for node in live for name in reads(node)} | inits
        read |= {value.name for value in graph.input}  # older files list constants there, too
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        states = (*self._contract.states, *self.states)
        return model, replace(self._contract, states=states)

    def _batch_axis(self, name: str, shape: Sequence[Size], axis: int) -> int | None:
        rows = [place for place, size in enumerate(shape) if size.is_batch]
        others = [
            place for place, size in enumerate(shape)
            if place not in (axis, *rows[:1]) and (size.batch or size.grows)
        ]  # fmt: skip
        if others:
            raise refusal(
                f"the state {name!r} would hold frames whose axis {others[0]} is neither the batch "
                f"nor of fixed size",
                "keep batch and features in axes of their own",
            )
        if rows:
            return rows[0]
        if all(axes.batch is None for axes in self._contract.stream.inputs.values()):
            return None
        return 1 if axis == 0 else 0  # a file for one batch size: the first axis beside time


def one_row(shape: Sequence[Size], axis: int, count: int) -> tuple[int, ...]:
    """Return the sizes of ``count`` frames with a batch of 1."""
    return tuple(
        count if place == axis else 1 if size.is_batch else size.base
        for place, size in enumerate(shape)
    )


def live_nodes(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that some output depends on, in order."""
    needed, live = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(reads(node))
            live.append(node)
    return live[::-1]


def reads(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node reads, itself or in its subgraphs."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        inside = {name for inner in graph.node for name in reads(inner)}
        inside |= {value.name for value in graph.output}
        names |= inside - _made(graph)
    return names


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give values that a node reads, itself or in its subgraphs, other names."""
    if not names:
        return
    node.input[:] = [names.get(name, name) for name in node.input]
    for graph in subgraphs(node):
        made = _made(graph)
        outside = {old: new for old, new in names.items() if old not in made}
        for inner in graph.node:
            rename(inner, outside)
        for value in graph.output:
            value.name = outside.get(value.name, value.name)


def _made(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph defines."""
    made = {name for node in graph.node for name in node.output}
    return made | {value.name for value in (*graph.input, *graph.initializer)}


def _batch_dim(model: onnx.ModelProto, contract: Contract) -> str:
    """Return the name that the graph has for the batch size."""
    for value in model.graph.input:
        axes = contract.stream.inputs.get(value.name)
        if axes is not None and axes.batch is not None:
            name: str = value.type.tensor_type.shape.dim[axes.batch].dim_param
            if name:
                return name
    return "batch"
