"""Name the nodes of an exported graph after the module's layers that they come from.

Layers are chosen by these names when a file is quantized, and ranges found in training are kept by
them, so they are the names of `edgernn.training.quantized.layer_names`.
"""

from __future__ import annotations

import ast
from dataclasses import replace

import onnx
from torch import nn

from edgernn.integer import Ranges
from edgernn.training.quantized import layer_names

_SCOPES = "pkg.torch.onnx.name_scopes"
_WRAPPER = "module."  # the attribute of StreamingModule
_OPERATORS: dict[str, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "RNN": nn.RNN,
    "MatMul": nn.Linear,
    "Gemm": nn.Linear,
    "Conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "Gather": nn.Embedding,
}
_AGAIN = "#"  # between a layer's name and the number of its use, from the second on


def name_layers(model: onnx.ModelProto, module: nn.Module) -> None:
    """Give the nodes of recurrent, linear, convolution and embedding layers the layers' names.

    A layer that forward calls more than once has more than one node: ``head``, ``head#2``, …

    Args:
        model: As the PyTorch exporter wrote it, with its notes about where nodes come from.
        module: What was exported.
    """
    modules = dict(module.named_modules())
    uses: dict[str, int] = {}
    for node in model.graph.node:
        path = _path_of(node)
        layer = None if path is None else modules.get(path)
        if path is None or layer is None or not isinstance(layer, _OPERATORS.get(node.op_type, ())):
            continue
        names = layer_names(path, layer)
        index = 0
        if isinstance(layer, nn.RNNBase):  # its second input is the weight that we named W_l0, …
            index = int(node.input[1].rpartition("_l")[2])
        name = names[index]
        uses[name] = uses.get(name, 0) + 1
        node.name = name if uses[name] == 1 else f"{name}{_AGAIN}{uses[name]}"


def ranges_by_node(ranges: Ranges, model: onnx.ModelProto) -> Ranges:
    """Repeat the ranges of layers that forward calls more than once under each node's name."""
    layers, precisions = dict(ranges.layers), dict(ranges.precisions)
    for node in model.graph.node:
        name, again, _ = node.name.rpartition(_AGAIN)
        if again and name in layers:
            layers[node.name] = layers[name]
            precisions[node.name] = precisions[name]
    return replace(ranges, layers=layers, precisions=precisions)


def _path_of(node: onnx.NodeProto) -> str | None:
    """Return the path of the innermost module that a node was made in, or None."""
    notes = {item.key: item.value for item in node.metadata_props}
    if _SCOPES not in notes:
        return None
    scopes = ast.literal_eval(notes[_SCOPES])  # a list of names as text, the operator's last
    if len(scopes) < 2:
        return None
    path: str = scopes[-2]
    return "" if path + "." == _WRAPPER else path.removeprefix(_WRAPPER)
