"""The state of turning one graph into C statements, and what every operator may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgernn_exporters.codegen.dims import Dim, Shape, at, count, signed
from edgernn_exporters.codegen.layouts import Layout
from edgernn_exporters.codegen.loops import materialize
from edgernn_exporters.codegen.names import FUNCTIONS, Names, printable
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.single_node import captured
from edgernn_exporters.codegen.strided import as_tensor
from edgernn_exporters.codegen.values import (
    C_TYPES,
    Buffer,
    Constant,
    Lazy,
    Statement,
    Symbolic,
    Tensor,
    Value,
    View,
    Weights,
)

Give = Callable[[Shape, str], Buffer | None]
"""Returns memory for a value of a shape and dtype, or None if it has none that fits."""


class Bodies(Protocol):
    """Lowers the nodes of subgraphs (`visiting.Visitor`)."""

    def inside(self, lowering: Lowering, nodes: Sequence[onnx.NodeProto]) -> None:
        """Lower nodes in order; raises `NotLoweredError` if some cannot be."""
        ...

    def fold(self, lowering: Lowering, node: onnx.NodeProto) -> bool:
        """Compute a node now if all it reads is constant; tell whether that was done."""
        ...


class Lowering:
    """Collects statements, constants and values while the nodes are visited in order.

    Attributes:
        layout: How weights are packed.
        opset: Version of the standard operator set.
        prefix: Prefix of the constants' names.
        statements: What has been emitted so far.
        weights: Constants of the emitted file.
        headers: Kernel headers that are used.
        functions: C functions that the file needs before its own, by name.
        macs: Multiply-accumulate operations of one call, by the number of time steps.
        in_place: Pairs of a state's input and output that may share memory.
        results: Names of the graph's outputs.
        visitor: Lowers the nodes of subgraphs.
        written: Nodes that emx-onnx-cgen wrote.
        depth: Number of loops over subgraphs around what is being lowered.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        opset: int,
        layout: Layout,
        prefix: str,
        visitor: Bodies,
    ) -> None:
        self.layout = layout
        self.visitor = visitor
        self.written: list[str] = []
        self.depth = 0
        self.opset = opset
        self.prefix = prefix
        self.statements: list[Statement] = []
        self.weights = Weights()
        self.headers: set[str] = set()
        self.functions: dict[str, str] = {}
        self.macs: list[Dim] = []
        self._skipped: dict[int, onnx.NodeProto] = {}
        self.names = Names(prefix=prefix)
        self.weight_names = Names(FUNCTIONS)
        self._values: dict[str, Value] = {}
        self._outputs: dict[str, Give] = {}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys([*node.input, *captured(node)]):
                self._consumers.setdefault(name, []).append(node)
        self.results = {value.name for value in graph.output}
        self.in_place: set[tuple[str, str]] = set()

    # Values

    def define(self, name: str, value: Value) -> None:
        """Say what a name of the graph stands for."""
        self._values[name] = value

    def known(self, name: str) -> bool:
        """Tell whether a name has a value; False behind a node that was refused."""
        return name in self._values

    def value(self, name: str) -> Value:
        """Return what a name stands for."""
        return self._values[name]

    def shape(self, name: str) -> Shape:
        """Return the shape of any value."""
        return self._values[name].shape

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a compile-time value, or None."""
        value = self._values.get(name)
        return value.array if isinstance(value, Constant) else None

    def require_constant(self, name: str, what: str) -> NDArray[Any]:
        """Return a compile-time value.

        Raises:
            NotLoweredError: It is computed at run time.
        """
        array = self.constant(name)
        if array is None:
            raise NotLoweredError(f"its {what} is not a constant", timed=True)
        return array

    def integers(self, name: str, what: str) -> list[Dim]:
        """Return integers that are known, or known but for the time steps.

        Raises:
            NotLoweredError: They are computed at run time.
        """
        value = self._values[name]
        if isinstance(value, Symbolic):
            return list(value.values)
        return [int(item) for item in self.require_constant(name, what).reshape(-1)]

    def tensor(self, name: str) -> Tensor:
        """Return a value in memory: computed now if it was put off, stored if it is constant."""
        value = self._values[name]
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Constant):
            return self.stored(name, value.array)
        if isinstance(value, Symbolic):  # stays what it is: it may be a size elsewhere
            return self._written(name, value)
        result = None
        if value.code == "{0}" and name not in self._outputs:
            result = self._in_place(value)
        if result is None:
            result = self.destination(name, value.shape, value.dtype)
            materialize(self, value, result)
        self.define(name, result)
        return result

    def _in_place(self, value: Lazy) -> Tensor | None:
        """Return what a view shows, if it is one piece of memory."""
        operand = value.operands[0]
        if isinstance(operand, Constant) or operand.shape != value.shape:
            return None
        return operand if isinstance(operand, Tensor) else as_tensor(operand)

    def _written(self, name: str, value: Symbolic) -> Tensor:
        """Write numbers that depend on the time steps to memory."""
        result = self.destination(name, value.shape, value.dtype)
        kind = _c_type(value.dtype)
        lines = [
            f"{result.c}[{place}] = ({kind})({signed(number)});"
            for place, number in enumerate(value.values)
        ]
        self.emit("\n".join(lines), writes=[result])
        return result

    def stored(self, name: str, array: NDArray[Any]) -> Tensor:
        """Put a constant into the emitted file and return it as a tensor."""
        shape = tuple(int(size) for size in array.shape)
        c_type = _c_type(array.dtype.name)
        buffer = Buffer(self.weight(name, array), c_type, int(array.size), "input")
        return Tensor(buffer, shape, array.dtype.name)

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Put a constant into the emitted file and return its C name."""
        _c_type(array.dtype.name)
        return self.weights.add(f"{self.prefix}_{self.weight_names.unique(name)}", array)

    # Memory

    def scratch(
        self, name: str, shape: Shape, dtype: str = "float32", *, c_type: str | None = None
    ) -> Tensor:
        """Return new scratch memory; ``c_type`` where it differs from that of the dtype."""
        buffer = Buffer(self.names.unique(name), c_type or _c_type(dtype), count(shape))
        return Tensor(buffer, shape, dtype)

    def destination(self, name: str, shape: Shape, dtype: str = "float32") -> Tensor:
        """Return where to compute a value: the caller's memory if it is a result, else scratch."""
        give = self._outputs.pop(name, None)
        buffer = give(shape, dtype) if give else None
        if buffer is None:
            return self.scratch(name or "unused", shape, dtype)
        return Tensor(buffer, shape, dtype)

    def offer(self, name: str, buffer: Buffer) -> None:
        """Say that the value ``name`` may be computed in ``buffer``, if it fits there."""

        def give(shape: Shape, dtype: str) -> Buffer | None:
            fits = buffer.c_type == _c_type(dtype) and buffer.size == count(shape)
            return buffer if fits else None

        self.offer_made(name, give)

    def offer_made(self, name: str, give: Give) -> None:
        """Say that the value ``name`` may be computed in memory that is made when it is known."""
        self._outputs[name] = give

    def untouched(self, name: str) -> bool:
        """Tell whether nothing has been computed in the memory that was offered for a value."""
        return name in self._outputs

    def updates_in_place(self, start: str, output: str) -> bool:
        """Tell whether a state may be updated in the memory that holds its first value."""
        return (start, output) in self.in_place

    # Statements

    def emit(
        self,
        code: str,
        *,
        reads: Iterable[Tensor | View] = (),
        writes: Iterable[Tensor | View] = (),
    ) -> None:
        """Append statements."""
        self.statements.append(
            Statement(code, tuple(t.buffer for t in reads), tuple(t.buffer for t in writes))
        )

    def comment(self, node: onnx.NodeProto) -> str:
        """Return a C comment that names a node and its shapes."""
        name = printable(node.name or (node.output[0] if node.output else ""))
        return f"/* {printable(node.op_type)} {name} */"

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy all elements."""
        size = f"(size_t)({source.size}) * sizeof(*{target.c})"
        self.emit(f"memcpy({target.c}, {source.c}, {size});", reads=[source], writes=[target])

    def count_macs(self, number: Dim) -> None:
        """Add to the multiply-accumulate operations of a call."""
        self.macs.append(number)

    def macs_per_step(self) -> int:
        """Return the multiply-accumulate operations of one time step."""
        return sum(at(number, 1) for number in self.macs)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Undo everything since the block began if it refuses its node."""
        lists: list[list[Any]] = [self.statements, self.macs, self.written]
        tables: list[dict[Any, Any]] = [self._values, self._outputs, self.functions]
        tables.append(self._skipped)
        tables += self.weights.tables
        sets: list[set[Any]] = [self.headers]
        lengths = [len(items) for items in lists]
        kept_tables = [dict(table) for table in tables]
        kept_sets = [set(items) for items in sets]
        try:
            yield
        except NotLoweredError:
            for items, length in zip(lists, lengths, strict=True):
                del items[length:]
            for table, kept in zip(tables, kept_tables, strict=True):
                table.clear()
                table.update(kept)
            for members, before in zip(sets, kept_sets, strict=True):
                members.clear()
                members.update(before)
            raise

    # Graph

    def taken(self, name: str) -> bool:
        """Tell whether a name means something already, or will."""
        tables = (self._values, self._consumers, self._outputs, self.results)
        return any(name in table for table in tables)

    @contextmanager
    def subgraph(self, nodes: Sequence[onnx.NodeProto], results: Iterable[str]) -> Iterator[None]:
        """Let the nodes of a subgraph count as readers; forget all it defined when it ends.

        Args:
            nodes: Its nodes; no name that they define is `taken`.
            results: Names of its outputs.
        """
        values, outputs, outer = dict(self._values), set(self._outputs), set(self.results)
        local: list[str] = []
        for node in nodes:
            for name in dict.fromkeys([*node.input, *captured(node)]):
                if name not in values:
                    local.append(name)
                    self._consumers.setdefault(name, []).append(node)
        self.results.update(results)
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            self._values.clear()
            self._values.update(values)
            for name in set(self._outputs) - outputs:
                del self._outputs[name]
            for name in local:
                self._consumers.pop(name, None)
            self.results.clear()
            self.results.update(outer)

    def consumers(self, name: str) -> Sequence[onnx.NodeProto]:
        """Return the nodes that read a value."""
        return self._consumers.get(name, [])

    def sole_consumer(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """Return the node that alone reads ``name``, if it is an ``op_type``."""
        users = self.consumers(name)
        if len(users) == 1 and users[0].op_type == op_type and name not in self.results:
            return users[0]
        return None

    def skip(self, node: onnx.NodeProto) -> None:
        """Say that a later node needs no statements of its own any more."""
        self._skipped[id(node)] = node

    def is_skipped(self, node: onnx.NodeProto) -> bool:
        """Tell whether `skip` was called for a node."""
        return id(node) in self._skipped

    def axes(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> list[int] | None:
        """Return ``axes``, which older opsets have as an attribute and newer ones as an input."""
        if "axes" in attributes:
            return [int(axis) for axis in attributes["axes"]]
        if len(node.input) > 1 and node.input[1]:
            return [int(axis) for axis in self.require_constant(node.input[1], "axes").reshape(-1)]
        return None


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes; texts as str."""
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: _text(value) for name, value in values.items()}


def float_constant(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return a constant as contiguous float32.

    Raises:
        NotLoweredError: It has another type.
    """
    if array.dtype != np.float32:
        raise NotLoweredError(f"its weights are {array.dtype.name}, not float32")
    return np.ascontiguousarray(array)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value


def _c_type(dtype: str) -> str:
    if dtype not in C_TYPES:
        raise NotLoweredError(f"it has values of type {dtype}")
    return C_TYPES[dtype]
