"""Name the nodes of an exported graph after the module's layers that they come from.

Layers are chosen by these names when a file is quantized, and ranges found in training are kept by
them, so they are the names of `edgernn.training.quantized.layer_names`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace

import onnx
from torch import nn

from edgernn.integer import Ranges
from edgernn.training.quantized import layer_names
from edgernn_exporters.pytorch.projection import REVERSE
from edgernn_exporters.pytorch.uses import AGAIN

_SCOPES = "pkg.torch.onnx.name_scopes"
_WRAPPER = "module."  # the attribute of StreamingModule
_OPERATORS: dict[str, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    "LSTM": (nn.LSTM, nn.LSTMCell),
    "GRU": (nn.GRU, nn.GRUCell),
    "RNN": (nn.RNN, nn.RNNCell),
    "MatMul": nn.Linear,
    "Gemm": nn.Linear,
    "Conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "Gather": nn.Embedding,
}
_IN_TIME = {"Pad": "pad", "Concat": "concat", "Slice": "slice", "CumSum": "sum", "Add": "add",
            "Sub": "sub", "AveragePool": "pool", "MaxPool": "pool"}  # fmt: skip
_LAYERS_IN_TIME = ("torch.nn.modules.padding", "torch.nn.modules.pooling")


def name_layers(model: onnx.ModelProto, module: nn.Module) -> None:
    """Give the nodes of recurrent, linear, convolution and embedding layers the layers' names.

    A layer that forward calls more than once has more than one node: ``head``, ``head#2``, …
    Nodes that may need a state to stream are named after the module that they are in, and what
    they do: ``block.pad``.

    Args:
        model: As the PyTorch exporter wrote it, with its notes about where nodes come from.
        module: What was exported.
    """
    modules = dict(module.named_modules())
    uses: dict[str, int] = {}
    for node in model.graph.node:
        path = _path_of(node)
        layer = None if path is None else modules.get(path)
        if path is None or layer is None:
            continue
        name = _name_in(layer, path, node)
        if name is None:
            continue
        uses[name] = uses.get(name, 0) + 1
        node.name = name if uses[name] == 1 else f"{name}{AGAIN}{uses[name]}"


def _name_in(layer: nn.Module, path: str, node: onnx.NodeProto) -> str | None:
    """Return a node's name, or None if it is not what its layer is known by.

    A layer with a projection has two nodes for each direction: ``rnn.l0`` is the `Scan`, and
    ``rnn.l0.input`` the product in front of it.
    """
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        weight = _weight_of(node)
        if weight is None:
            return None
        letter, index, reverse = weight
        part = ".input" if letter == "W" else ""
        return f"{layer_names(path, layer)[index]}{part}{'.reverse' if reverse else ''}"
    if node.op_type in _IN_TIME:
        if type(layer).__module__ in _LAYERS_IN_TIME:  # it is nothing else
            return path
        return ".".join(part for part in (path, _IN_TIME[node.op_type]) if part)
    if not isinstance(layer, _OPERATORS.get(node.op_type, ())):
        return None
    names = layer_names(path, layer)
    if isinstance(layer, nn.RNNBase):  # its second input is the weight that we named W_l0, …
        return names[int(node.input[1].rpartition("_l")[2])]
    return names[0]


def _weight_of(node: onnx.NodeProto) -> tuple[str, int, bool] | None:
    """Return letter, layer and direction of the weight by which a projected layer's node is known.

    It is W for the product of the input, and R for the `Scan`, whose body reads it.
    """
    read = list(node.input[1:2]) if node.op_type == "MatMul" else []
    if node.op_type == "Scan":
        body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
        read = [name for inner in body.node for name in inner.input]
    letter = "R" if node.op_type == "Scan" else "W"
    for name in read:
        if found := re.search(rf"(?:^|\.){letter}_l(\d+)({REVERSE})?$", name):
            return letter, int(found[1]), found[2] is not None
    return None


def ranges_by_node(ranges: Ranges, model: onnx.ModelProto) -> Ranges:
    """Repeat the ranges of layers that forward calls more than once under each node's name."""
    layers, precisions = dict(ranges.layers), dict(ranges.precisions)
    for node in model.graph.node:
        name, again, _ = node.name.rpartition(AGAIN)
        if again and name in layers:
            layers[node.name] = layers[name]
            precisions[node.name] = precisions[name]
    return replace(ranges, layers=layers, precisions=precisions)


def _path_of(node: onnx.NodeProto) -> str | None:
    """Return the path of the innermost module that a node was made in, or None."""
    if node.op_type == "Conv":  # its notes may be those of a Pad or BatchNorm that it took in
        path, _, weight = str(node.input[1]).rpartition(".")
        if weight == "weight":
            return path
    notes = {item.key: item.value for item in node.metadata_props}
    if _SCOPES not in notes:
        return None
    scopes = ast.literal_eval(notes[_SCOPES])  # a list of names as text, the operator's last
    if len(scopes) < 2:
        return None
    scope: str = scopes[-2]
    return "" if scope + "." == _WRAPPER else scope.removeprefix(_WRAPPER)
