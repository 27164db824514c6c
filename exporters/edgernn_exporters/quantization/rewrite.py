"""Rewrite a float graph: every layer in the precision that was chosen for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from edgernn.contract import Contract
from edgernn.integer import INTEGER, Precision, Ranges
from edgernn_exporters.quantization import dynamic, integer
from edgernn_exporters.quantization import half as fp16
from edgernn_exporters.quantization.forms import Rewrite
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import (
    FLOAT,
    Choice,
    KeepError,
    KeptFloat,
    is_layer,
    name_of,
    require_untied,
)
from edgernn_exporters.quantization.states import States
from edgernn_exporters.quantization.ties import untie


@dataclass(frozen=True)
class Form:
    """Say how a precision is made.

    Attributes:
        opset: Oldest opset that it can do with.
        rewrites: Returns what rewrites each operator, from the ranges and states of a model.
    """

    opset: int
    rewrites: Callable[[Ranges | None, States], Mapping[str, Rewrite]]


def _integer(precision: Precision) -> Form:
    return Form(
        integer.OPSET,
        lambda ranges, states: integer.Integer(precision, ranges, states).rewrites(),
    )


PRECISIONS: dict[str, Form] = {
    "fp16": Form(fp16.OPSET, lambda ranges, states: fp16.Half().rewrites()),
    "int8-dynamic": Form(dynamic.OPSET, lambda ranges, states: dynamic.rewrites()),
    **{name: _integer(precision) for name, precision in INTEGER.items()},
}
"""Precisions by name."""


@dataclass(frozen=True)
class Rewritten:
    """Say what a rewrite did.

    Attributes:
        layers: Precision by the name of each layer, in the order of the graph.
        kept: Layers that stayed float, with the reason.
        contract: State contract of the new graph; None if there was none.
    """

    layers: Mapping[str, str]
    kept: tuple[KeptFloat, ...]
    contract: Contract | None


def rewrite(
    model: onnx.ModelProto,
    choice: Choice,
    *,
    ranges: Ranges | None = None,
    contract: Contract | None = None,
) -> Rewritten:
    """Quantize the layers of a float model in place.

    Args:
        model: The model; one of an older opset than the functions need is converted.
        choice: Precision of each layer.
        ranges: What goes into the layers, for integer precisions.
        contract: State contract of the model.

    Raises:
        UsageError: A pattern of the choice fits no layer, or ranges are needed and not given.
        ModelError: Weights are not finite or do not fit their node, ranges lack a layer, or an old
            opset cannot be converted.
    """
    forms = {name: PRECISIONS[name] for name in sorted(choice.precisions())}
    states = States(contract)
    tables = {name: form.rewrites(ranges, states) for name, form in forms.items()}
    untie(model, lambda node: _is_integer(choice, node))
    graph = GraphEditor(model, max((form.opset for form in forms.values()), default=0))
    choice.check([name_of(node) for node in graph.nodes() if is_layer(graph, node)])
    layers: dict[str, str] = {}
    kept: list[KeptFloat] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes():
        if not is_layer(graph, node):
            nodes.append(node)
            continue
        name = name_of(node)
        try:
            precision = choice.of(name)
            require_untied(graph, node)
            nodes.extend(_rewrite_for(tables, precision, node)(graph, node))
            layers[name] = precision
        except KeepError as reason:
            nodes.append(node)
            layers[name] = FLOAT
            kept.append(KeptFloat(name, node.op_type, str(reason)))
    if len(kept) < len(layers):
        graph.finish(nodes)
    return Rewritten(layers, tuple(kept), states.contract)


def _is_integer(choice: Choice, node: onnx.NodeProto) -> bool:
    try:
        return choice.of(name_of(node)) in INTEGER
    except KeepError:
        return False


def _rewrite_for(
    tables: Mapping[str, Mapping[str, Rewrite]], precision: str, node: onnx.NodeProto
) -> Rewrite:
    found = tables[precision].get(node.op_type)
    if found is None:
        raise KeepError(f"there is no {precision} form of {node.op_type}")
    return found
