"""Bring a foreign model to the opset and IR version that the toolkit works with."""

from __future__ import annotations

import onnx
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_graphs import inlined
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.walking import described, graphs_of, nodes_in, nodes_of
from edgernn_exporters.onnx_nodes import STANDARD
from edgernn_exporters.onnx_scans import is_batched, unbatched
from edgernn_exporters.quantization.opset import at_least, opset_of

OPSET = 20
_NEWER = "export the model with opset 9 or later"


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose functions are inlined; those of edgernn stay.

    Requires that `checks.check_operators` has passed, which bounds what inlining makes.

    Raises:
        ModelError: A function is written for another opset, in which its operators mean something
            else.
    """
    opset = opset_of(model)
    for function in model.functions:
        for entry in function.opset_import:
            if entry.domain in STANDARD and entry.version != opset:
                _require_same(function, entry.version, opset)
                entry.version = opset
    return inlined(model)


def _require_same(function: onnx.FunctionProto, version: int, opset: int) -> None:
    """Check that all operators of a function are the same in two opsets."""
    for node in nodes_in(function.node):
        changed = node.domain in STANDARD and not _is_same(node.op_type, version, opset)
        if changed:
            raise ModelError(
                f"function {function.name!r} is written for opset {version}, where "
                f"{node.op_type} is not that of the model's opset {opset}; export the model "
                f"with one opset"
            )


def raise_opset(model: onnx.ModelProto, notes: Notes) -> None:
    """Bring a model to opset 20 or later and to the oldest IR version for it, in place.

    Raises:
        ModelError: An operator cannot be converted.
    """
    _one_domain(model)
    before, ir_version = opset_of(model), model.ir_version
    if before == 8:
        _unbatch_scans(model)
    at_least(model, OPSET)
    if before < OPSET:
        notes.add(f"The opset is {OPSET} now; it was {before}.")
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import), True)
    if ir_version > model.ir_version:
        notes.add(f"The IR version is {model.ir_version} now; it was {ir_version}.")


def _unbatch_scans(model: onnx.ModelProto) -> None:
    """Bring a model with Scans of opset 8, which the converter gets wrong, to opset 9, in place.

    Raises:
        ModelError: A Scan takes lengths, or another operator is not the same in both opsets.
    """
    if not any(node.op_type == "Scan" for node in nodes_of(model)):
        return
    for graph in reversed(list(graphs_of(model))):  # inner ones first: outer ones are replaced
        for place, node in enumerate(graph.node):
            if is_batched(node):
                try:
                    graph.node[place].CopyFrom(unbatched(node))
                except ValueError as error:
                    raise ModelError(
                        f"{described(node)} is of opset 8: {error}; {_NEWER}"
                    ) from None
            elif node.domain == "" and not _is_same(node.op_type, 8, 9):
                raise ModelError(
                    f"{described(node)} is of opset 8, beside a Scan of that opset; {_NEWER}"
                )
    for entry in model.opset_import:
        entry.version = 9 if entry.domain == "" else entry.version


def _is_same(op_type: str, opset: int, other: int) -> bool:
    """Tell whether an operator is the same in two opsets."""
    one, two = (onnx.defs.get_schema(op_type, number, "") for number in (opset, other))
    return bool(one.since_version == two.since_version)


def _one_domain(model: onnx.ModelProto) -> None:
    """Write the standard domain in one way, and import only what is used."""
    for node in nodes_of(model):
        if node.domain in STANDARD:
            node.domain = ""
    used = {node.domain for node in nodes_of(model)} | {""}
    versions = {"" if i.domain in STANDARD else i.domain: i.version for i in model.opset_import}
    imports = [helper.make_opsetid(d, v) for d, v in versions.items() if d in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
