"""Read and write ONNX files with edgernn metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgernn.errors import ModelError, first_line
from edgernn.metadata import PREFIX, Metadata
from edgernn_exporters.onnx_nodes import subgraphs


def read_model(path: str | os.PathLike[str]) -> tuple[onnx.ModelProto, Metadata]:
    """Read and check an ONNX file.

    Raises:
        ModelError: The file is missing, truncated, or not a valid ONNX model, or keeps weights in
            another file.
        ContractError: Its metadata are unreadable.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    reason = ""
    try:
        onnx.checker.check_model(content)  # before it is parsed: the checker makes a copy
    except onnx.checker.ValidationError as error:
        reason = first_line(error)
    except ValueError:  # the parser below says so, too
        pass
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise ModelError(
            f"{file}: not an ONNX file, or cut off; export it again or copy it again"
        ) from None
    if outside := [t.name for t in model.graph.initializer if t.data_location == t.EXTERNAL]:
        raise ModelError(
            f"{file}: keeps weights such as {outside[0]!r} in another file, which is not read; "
            f"bring both into one file with edgernn import"
        )
    if sparse := next(_sparse(model.graph), None):
        raise ModelError(
            f"{file}: holds the sparse constant {sparse!r}, which is not read; edgernn import "
            f"writes it as a dense one"
        )
    if not model.graph.node:
        raise ModelError(f"{file}: an ONNX file without a graph; export it again")
    if reason:
        raise ModelError(f"{file}: not a valid ONNX model: {reason}; export it again")
    props = {prop.key: prop.value for prop in model.metadata_props}
    return model, Metadata.from_props(props, str(file))


def save_model(model: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    """Write a model with its metadata, without traces of the machine it was made on."""
    kept = {p.key: p.value for p in model.metadata_props if not p.key.startswith(PREFIX)}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**kept, **metadata.to_props()})
    strip(model)
    content = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(content)
    path.write_bytes(content)


def _sparse(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of sparse initializers, those of bodies included."""
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        for body in subgraphs(node):
            yield from _sparse(body)


def add_gate(path: Path, gate: Mapping[str, Any]) -> None:
    """Write the result of a gate into a file that `save_model` wrote without one.

    The file is not read: protobuf messages behind each other are one message.
    """
    key = f"{PREFIX}gate"
    more = onnx.ModelProto()
    onnx.helper.set_model_props(more, {key: Metadata(gate=gate).to_props()[key]})
    with path.open("ab") as file:
        file.write(more.SerializeToString())


def strip(model: onnx.ModelProto) -> None:
    """Remove what no run needs: stack traces, documentation strings, inferred inner shapes."""
    model.ClearField("doc_string")
    _strip_graph(model.graph)
    for function in model.functions:
        _clear(function)
        del function.value_info[:]
        for node in function.node:
            _strip_node(node)


def _strip_graph(graph: onnx.GraphProto) -> None:
    _clear(graph)
    del graph.value_info[:]
    for item in [*graph.input, *graph.output, *graph.initializer]:
        _clear(item)
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: onnx.NodeProto) -> None:
    _clear(node)
    for attribute in node.attribute:
        attribute.ClearField("doc_string")
    for graph in subgraphs(node):
        _strip_graph(graph)


def _clear(item: Any) -> None:
    item.ClearField("doc_string")
    del item.metadata_props[:]
