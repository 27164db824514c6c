"""The ONNX functions of quantized layers, in standard operators, by name.

A file carries the functions that it calls, so that any ONNX runtime can run it. The modules here
hold their texts in ONNX's textual form: `dynamic` for ``int8-dynamic``, `integer` for ``int8``,
``w8a16`` and ``int4``, `loops` for the time loop of both.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from edgernn_exporters.quantization.functions import dynamic, integer, loops

DOMAIN = "edgernn"
OPSET = 21
"""Oldest opset with 4-bit tensors; models of older opsets are converted to it."""

_TEXTS = {**loops.TEXTS, **dynamic.TEXTS, **integer.TEXTS}
NAMES = tuple(_TEXTS)


def function(name: str, opset: int = OPSET) -> onnx.FunctionProto:
    """Return one of the functions in `NAMES`, for a model of this opset.

    Example:
        >>> function("LinearInt8").input
        ['x', 'xc', 'xi', 'w', 'wm', 'wb']
    """
    text = _TEXTS[name]
    imports = f'"" : {opset}' + (f', "{DOMAIN}" : 1' if f"{DOMAIN}." in text else "")
    header = f'<domain: "{DOMAIN}", opset_import: [{imports}]>\n{name} '
    made: onnx.FunctionProto = onnx.parser.parse_function(header + text)
    _clear_empty_names(made.node)
    return made


def _clear_empty_names(nodes: Iterable[onnx.NodeProto]) -> None:
    """Drop fields that the parser sets to nothing: two bytes each in every file."""
    for node in nodes:
        if not node.domain:
            node.ClearField("domain")
        for attribute in node.attribute:
            if attribute.HasField("t") and not attribute.t.name:
                attribute.t.ClearField("name")
            _clear_empty_names(attribute.g.node)


def with_callees(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` and the functions that they call, every callee before its callers."""
    found: dict[str, None] = {}
    for name in sorted(names):
        called = {node.op_type for node in function(name).node if node.domain == DOMAIN}
        found |= dict.fromkeys((*with_callees(called), name))
    return tuple(found)
