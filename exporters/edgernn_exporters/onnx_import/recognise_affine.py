"""Read what a value of a graph is: a sum of products with constant matrices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgernn_exporters.onnx_import.editing import reads
from edgernn_exporters.onnx_import.tracing import frozen, inferred_graph
from edgernn_exporters.onnx_nodes import attributes, is_standard

Floats = NDArray[np.float32]

_DEEPEST = 32
"""Nested operators of one sum; cells have about six. Keeps strange graphs from costing time."""


@dataclass(frozen=True)
class Affine:
    """Stand for ``sum(source @ matrix) + bias``.

    Attributes:
        matrices: By the name of the source [batch, in]: matrix [in, width].
        bias: [width].
    """

    matrices: dict[str, Floats]
    bias: Floats

    def columns(self, start: int, end: int) -> Affine:
        """Return some of the columns."""
        parts = {name: matrix[:, start:end] for name, matrix in self.matrices.items()}
        return Affine(parts, self.bias[start:end])

    def plus(self, other: Affine) -> Affine | None:
        """Return the sum, or None if the widths differ."""
        if len(self.bias) != len(other.bias):
            return None
        parts = dict(self.matrices)
        for name, matrix in other.matrices.items():
            parts[name] = parts[name] + matrix if name in parts else matrix
        return Affine(parts, self.bias + other.bias)

    def times(self, factor: float) -> Affine:
        """Return it multiplied by a number."""
        parts = {name: matrix * np.float32(factor) for name, matrix in self.matrices.items()}
        return Affine(parts, self.bias * np.float32(factor))


class Values:
    """Look up producers, constants, ranks and sums of products in a graph.

    Args:
        model: Of the graph; not changed.
        leaves: Inputs [batch, width] that are taken for sums of products themselves.
    """

    def __init__(self, model: onnx.ModelProto, leaves: Iterable[str] = ()) -> None:
        self._leaves = set(leaves)
        graph = model.graph
        fed = {value.name for value in graph.input}
        self._constants = {t.name: t for t in graph.initializer if t.name not in fed}
        self._known: dict[str, Affine | None] = {}
        self.ir_version, self.opsets = model.ir_version, list(model.opset_import)
        self.producers = {name: node for node in graph.node for name in node.output if name}
        inferred = inferred_graph(frozen(model, None))
        self.shapes: dict[str, list[int | str]] = {
            value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
            if value.type.tensor_type.HasField("shape")
        }
        self.shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Return the value of an initializer that no caller can replace, or None."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """Return an initializer that no caller can replace, or None."""
        return self._constants.get(name)

    def varies(self, name: str) -> bool:
        """Tell whether a value depends on what an input holds, not only on its shape."""
        pending, seen = [name], {name}
        while pending:
            given = pending.pop()
            node = self.producers.get(given)
            if node is None and given not in self._constants:
                return True
            if node is not None and not is_standard(node, "Shape"):
                new = set(reads(node)) - seen
                seen |= new
                pending.extend(new)
        return False

    def floats(self, name: str) -> Floats | None:
        """Return a float32 constant, or None."""
        value = self.constant(name)
        return value if value is not None and value.dtype == np.float32 else None  # type: ignore[return-value]

    def made_by(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """Return the node that makes ``name`` if it is one of these operators."""
        node = self.producers.get(name)
        return node if node is not None and is_standard(node, *op_types) else None

    def rank(self, name: str) -> int | None:
        """Return the number of axes, or None if it is not known."""
        return len(self.shapes[name]) if name in self.shapes else None

    def addends(self, name: str) -> list[str]:
        """Return the operands of nested additions; the name itself if it is no sum."""
        terms: list[str] = []
        pending = [name]
        while pending:
            node = self.made_by(pending.pop(), "Add")
            for operand in node.input if node is not None else ():
                (pending if self.made_by(operand, "Add") else terms).append(operand)
            if len(terms) + len(pending) > _DEEPEST:
                return [name]
        return terms or [name]

    def number(self, name: str) -> float | None:
        """Return a float32 constant of one element and no axes that it would add, or None."""
        value = self.floats(name) if name else None
        single = value is not None and value.shape in ((), (1,))
        return float(value.reshape(-1)[0]) if value is not None and single else None

    def sums(self, name: str) -> list[list[tuple[str, int]]]:
        """Return a sum or difference as two terms with signs, and as three where one is such."""
        pair = self._pair((name, 1))
        if not pair:
            return []
        left, right = pair
        nested = [[*self._pair(left), right], [left, *self._pair(right)]]
        return [pair, *(terms for terms in nested if len(terms) == 3)]

    def _pair(self, term: tuple[str, int]) -> list[tuple[str, int]]:
        node, sign = self.made_by(term[0], "Add", "Sub"), term[1]
        if node is None:
            return []
        return [(node.input[0], sign), (node.input[1], -sign if node.op_type == "Sub" else sign)]

    def affine(self, name: str, depth: int = 0) -> Affine | None:
        """Return a value [batch, width] as a sum of products, or None if it is none."""
        if depth > _DEEPEST:
            return None
        if name not in self._known:
            self._known[name] = self._read(name, depth + 1)
        return self._known[name]

    def _read(self, name: str, depth: int) -> Affine | None:
        if name in self._leaves and isinstance(width := self.shapes[name][-1], int):
            return Affine({name: np.eye(width, dtype=np.float32)}, np.zeros(width, np.float32))
        node = self.made_by(name, "Identity", "Add", "MatMul", "Gemm", "Split", "Slice")
        if node is None:
            return None
        if node.op_type == "Identity":
            return self.affine(node.input[0], depth)
        if node.op_type == "Add":
            return self._sum(*node.input, depth=depth)
        if node.op_type == "MatMul":
            return self._product(node.input[0], self.floats(node.input[1]))
        if node.op_type == "Gemm":
            return self._gemm(node, depth)
        return self._part(node, name, depth)

    def _sum(self, left: str, right: str, *, depth: int) -> Affine | None:
        for one, other in ((left, right), (right, left)):
            bias = self.floats(one)
            if bias is not None:
                whole = self.affine(other, depth)
                return None if whole is None else _with_bias(whole, bias)
        first, second = self.affine(left, depth), self.affine(right, depth)
        return None if first is None or second is None else first.plus(second)

    def _product(self, source: str, matrix: Floats | None) -> Affine | None:
        if matrix is None or matrix.ndim != 2 or self.rank(source) != 2:
            return None
        bias = np.zeros(matrix.shape[1], np.float32)
        joined = self.made_by(source, "Concat")
        if joined is None or attributes(joined)["axis"] not in (1, -1):
            return Affine({source: matrix}, bias)
        widths = [self.shapes.get(name, [None])[-1] for name in joined.input]
        sizes = [width for width in widths if isinstance(width, int) and width]
        if len(sizes) < len(widths):
            return Affine({source: matrix}, bias)
        total, start = Affine({}, bias), 0
        for name, width in zip(joined.input, sizes, strict=True):
            more = total.plus(Affine({name: matrix[start : start + width]}, bias))
            if more is None:
                return None
            total, start = more, start + width
        return total if start == len(matrix) else None

    def _gemm(self, node: onnx.NodeProto, depth: int) -> Affine | None:
        given = attributes(node)
        matrix = self.floats(node.input[1])
        if matrix is None or given.get("transA", 0):
            return None
        whole = self._product(node.input[0], matrix.T if given.get("transB", 0) else matrix)
        if whole is None:
            return None
        whole = whole.times(given.get("alpha", 1.0))
        if len(node.input) < 3 or not node.input[2]:
            return whole
        beta = given.get("beta", 1.0)
        bias = self.floats(node.input[2])
        if bias is not None:
            return _with_bias(whole, bias * np.float32(beta))
        rest = self.affine(node.input[2], depth)
        return None if rest is None else whole.plus(rest.times(beta))

    def _part(self, node: onnx.NodeProto, name: str, depth: int) -> Affine | None:
        whole = self.affine(node.input[0], depth)
        if whole is None:
            return None
        width = len(whole.bias)
        if node.op_type == "Split":
            if attributes(node).get("axis", 0) not in (1, -1):
                return None
            count = len(node.output)
            sizes = self.constant(node.input[1]) if len(node.input) > 1 else None
            if sizes is None and (width % count or len(node.input) > 1):
                return None
            each = [width // count] * count if sizes is None else [int(size) for size in sizes]
            at = list(node.output).index(name)
            return whole.columns(sum(each[:at]), sum(each[: at + 1]))
        given = [self.constant(entry) if entry else None for entry in node.input[1:]]
        if any(entry is None or entry.size != 1 for entry in given) or len(given) < 3:
            return None
        start, end, axis, *step = (
            int(entry.reshape(-1)[0]) for entry in given if entry is not None
        )
        if axis not in (1, -1) or step not in ([], [1]):
            return None
        start, end, _ = slice(start, end).indices(width)
        return whole.columns(start, end)


def _with_bias(whole: Affine, bias: Floats) -> Affine | None:
    if bias.size not in (1, len(whole.bias)) or (bias.ndim and bias.shape[-1] != bias.size):
        return None
    if bias.ndim > 2:
        return None  # it would add an axis
    flat = np.broadcast_to(bias.reshape(-1), whole.bias.shape)
    return Affine(whole.matrices, whole.bias + flat)
