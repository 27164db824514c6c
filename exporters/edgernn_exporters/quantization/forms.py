"""What the precisions have in common: rewrites of nodes, by operator."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from edgernn_exporters.quantization.graph import GraphEditor

Rewrite = Callable[[GraphEditor, onnx.NodeProto], list[onnx.NodeProto]]
"""Return the nodes in place of one; raise `KeepError` with the reason if it stays float."""
