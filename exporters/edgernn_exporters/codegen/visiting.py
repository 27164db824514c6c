"""Lower nodes in order: fold what is constant, else a kernel, else emx-onnx-cgen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from edgernn_exporters.codegen import ops
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.single_node import captured
from edgernn_exporters.codegen.values import Constant
from edgernn_exporters.onnx_graphs import fold
from edgernn_exporters.onnx_nodes import STANDARD, name_of, subgraphs

Fallback = Callable[[Lowering, onnx.NodeProto], None]
Refusal = tuple[str, NotLoweredError]
"""Label of a node, and why it has no form in C."""


class Visitor:
    """Lowers nodes of a graph, and those of its subgraphs where an operator asks for it.

    Args:
        model: The whole model.
        fallback: Called for a node without a kernel, while its refusal is handled.
    """

    def __init__(self, model: onnx.ModelProto, fallback: Fallback) -> None:
        self._model, self._fallback = model, fallback

    def visit(self, lowering: Lowering, nodes: Sequence[onnx.NodeProto]) -> list[Refusal]:
        """Lower nodes in order; return those that cannot be, without what depends on them."""
        refusals: list[Refusal] = []
        for node in nodes:
            if lowering.is_skipped(node) or not _ready(lowering, node):
                continue
            try:
                self._lower(lowering, node)
            except NotLoweredError as refusal:
                refusals.append((label_of(node), refusal))
        return refusals

    def inside(self, lowering: Lowering, nodes: Sequence[onnx.NodeProto]) -> None:
        """Lower the nodes of a subgraph.

        Raises:
            NotLoweredError: Some cannot be; names them all with the reasons.
        """
        refusals = self.visit(lowering, nodes)
        if refusals:
            reasons = "; ".join(f"{label}: {refusal}" for label, refusal in refusals)
            timed = any(refusal.timed for _, refusal in refusals)
            raise NotLoweredError(f"in its body, {reasons}", timed=timed)

    def fold(self, lowering: Lowering, node: onnx.NodeProto) -> bool:
        """Compute a node now if all it reads is constant; tell whether that was done."""
        arrays = {name: lowering.constant(name) for name in node.input if name}
        if any(array is None for array in arrays.values()):
            return False
        if any(True for _ in subgraphs(node)):
            return False
        known = {name: array for name, array in arrays.items() if array is not None}
        values = fold(node, known, self._model)
        if values is None:
            return False
        for name, array in values.items():
            lowering.define(name, Constant(array))
        return True

    def _lower(self, lowering: Lowering, node: onnx.NodeProto) -> None:
        if self.fold(lowering, node):
            return
        try:
            lower = ops.find(node)
            if lower is None:
                raise NotLoweredError("no kernel for this operator")
            with lowering.trial():
                lower(lowering, node)
        except NotLoweredError:
            self._fallback(lowering, node)
            lowering.written.append(label_of(node))


def label_of(node: onnx.NodeProto) -> str:
    """Return a node's operator and name for messages."""
    domain = "" if node.domain in STANDARD else f"{node.domain}."
    return f"{domain}{node.op_type} {name_of(node)}"


def _ready(lowering: Lowering, node: onnx.NodeProto) -> bool:
    """Tell whether all that a node reads is known; it is not behind a node that was refused."""
    return all(lowering.known(name) for name in [*node.input, *captured(node)] if name)
