"""Precision ``fp16``: weights stored as float16; everything is computed in float32.

A Cast stands before each weight. ONNX Runtime does it once, when it loads the file, so this halves
the file and the download, not the time of a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgernn.integer.weights import require_finite
from edgernn_exporters.quantization.forms import Rewrite
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import OPERATORS, KeepError

OPSET = 13
LARGEST = float(np.finfo(np.float16).max)


class Half:
    """Rewrite nodes to read float16 weights; a weight that several nodes read is stored once."""

    def __init__(self) -> None:
        self._casts: dict[str, str] = {}

    def rewrites(self) -> Mapping[str, Rewrite]:
        """Return what rewrites each operator."""
        return dict.fromkeys(OPERATORS, self._weights)

    def _weights(self, graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        # States of a recurrent node come after its weights and are not among them.
        names = [name for name in node.input[:4] if graph.constant(name) is not None]
        if not names:
            raise KeepError("the weights are not constants")
        new = [name for name in dict.fromkeys(names) if name not in self._casts]
        halves = [_half(graph, name) for name in new]  # all of them, before one is recorded
        nodes = [self._cast(graph, *item) for item in zip(new, halves, strict=True)]
        changed = onnx.NodeProto()  # the old one still tells what reads a table
        changed.CopyFrom(node)
        changed.input[:] = [
            self._casts.get(name, name) if place < 4 else name
            for place, name in enumerate(node.input)
        ]
        return [*nodes, changed]

    def _cast(self, graph: GraphEditor, name: str, half: NDArray[np.float16]) -> onnx.NodeProto:
        stored = graph.add(f"{name}.fp16", half)
        self._casts[name] = graph.unique(f"{name}.fp32")
        return helper.make_node("Cast", [stored], [self._casts[name]], to=TensorProto.FLOAT)


def _half(graph: GraphEditor, name: str) -> NDArray[np.float16]:
    value = graph.constant(name)
    assert value is not None
    require_finite(value, name)
    if np.abs(value).max(initial=0) > LARGEST:
        raise KeepError(f"weight {name!r} has values beyond ±{LARGEST:.0f}")
    return value.astype(np.float16)
