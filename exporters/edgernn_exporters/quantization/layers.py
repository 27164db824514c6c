"""The layers of a float graph that can be quantized, and what precision each one gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx

from edgernn.errors import UsageError
from edgernn_exporters.quantization.graph import GraphEditor

FLOAT = "float32"
OPERATORS = ("LSTM", "GRU", "RNN", "MatMul", "Gemm", "Conv", "ConvTranspose", "Gather")


@dataclass(frozen=True)
class KeptFloat:
    """Say why a layer stayed float.

    Attributes:
        node: Name of the layer.
        operator: Its operator.
        reason: Why.
    """

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        """Render as ``GRU rnn: clip is set``."""
        return f"{self.operator} {self.node}: {self.reason}"


class KeepError(Exception):
    """Say why a node stays float."""


def require_few_inputs(inputs: int, most: int | None) -> None:
    """Check how many inputs a weight has, where a sum of products may overflow.

    Raises:
        KeepError: There are more than ``most``.
    """
    if most is not None and inputs > most:
        raise KeepError(f"it has {inputs:,} inputs, and 16-bit inputs allow {most:,}")


def name_of(node: onnx.NodeProto) -> str:
    """Return the name of a node's layer: the node's, or its output's where it has none."""
    return node.name or node.output[0]


def is_layer(graph: GraphEditor, node: onnx.NodeProto) -> bool:
    """Tell whether a node is a layer: one of `OPERATORS`, where a Gather has to be an embedding."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        return False
    return node.op_type != "Gather" or is_embedding(graph, node)


def is_embedding(graph: GraphEditor, node: onnx.NodeProto) -> bool:
    """Tell whether a Gather takes rows from a constant float table ``[V, E]``.

    Others may read the table likewise, or turned, as a linear layer does.
    """
    table = graph.constant(node.input[0])
    if table is None or table.ndim != 2:
        return False
    return all(
        user.op_type == "Transpose" or _takes_rows(user, node.input[0])
        for user in graph.consumers(node.input[0])
    )


def _takes_rows(node: onnx.NodeProto, table: str) -> bool:
    return (
        node.op_type == "Gather"
        and node.input[0] == table
        and node.input[1] != table
        and all(entry.name != "axis" or entry.i in (0, -2) for entry in node.attribute)
    )


def require_untied(graph: GraphEditor, node: onnx.NodeProto) -> None:
    """Check that an embedding has a table of its own (see `ties.untie`).

    Raises:
        KeepError: It has not.
    """
    turned = [user for user in graph.consumers(node.input[0]) if user.op_type == "Transpose"]
    if node.op_type == "Gather" and turned:
        raise KeepError("its table is also that of a linear layer, and not both become integers")


@dataclass(frozen=True)
class Choice:
    """Hold which precision each layer gets.

    Attributes:
        precision: Of all layers that nothing else is said of.
        layers: Precisions by pattern of layer names (``fnmatch``); the last one that fits counts.
        keep: Patterns of layers that stay float; they count before all else.
    """

    precision: str
    layers: Mapping[str, str]
    keep: Sequence[str]

    def precisions(self) -> set[str]:
        """Return all precisions that are named, `FLOAT` not among them."""
        return {self.precision, *self.layers.values()} - {FLOAT}

    def of(self, name: str) -> str:
        """Return a layer's precision.

        Raises:
            KeepError: It stays float.
        """
        kept = [pattern for pattern in self.keep if fnmatchcase(name, pattern)]
        if kept:
            raise KeepError(f"kept by {kept[0]!r}")
        precision = self.precision
        for pattern, given in self.layers.items():
            if fnmatchcase(name, pattern):
                precision = given
        if precision == FLOAT:
            raise KeepError("float32 was asked for")
        return precision

    def check(self, names: Sequence[str]) -> None:
        """Refuse patterns that fit none of the layers.

        Raises:
            UsageError: One fits none.
        """
        for pattern in (*self.layers, *self.keep):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UsageError(
                    f"no layer is named {pattern!r}; the layers are "
                    f"{', '.join(map(repr, dict.fromkeys(names))) or 'none'}"
                )
