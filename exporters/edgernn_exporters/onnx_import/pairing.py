"""Find states that belong to no recurrent node: caches in time, and pairs by name and shape."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn.errors import UsageError
from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, ancestors
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.tracing import Tracer
from edgernn_exporters.onnx_nodes import attributes, is_standard

_BEFORE = ("in", "input", "prev", "previous", "old", "last", "past", "init", "initial", "0")
_SIDES = ("in", "input", "out", "output")
"""Affixes that signals have, too, as in ``audio_in`` and ``audio_out``."""
_MEMORIES = (
    "h", "c", "hx", "cx", "h0", "c0", "hidden", "cell", "state", "states", "cache", "caches",
    "memory", "mem", "buffer", "buf", "context", "ctx", "history", "hist", "carry", "past", "prev",
    "rnn", "gru", "lstm",
)  # fmt: skip
_AFTER = ("out", "output", "next", "new", "n", "final", "updated", "present")


def check_given(graph: onnx.GraphProto, given: Mapping[str, str]) -> None:
    """Check the pairs that the user named.

    Raises:
        UsageError: A name is none of the graph's, one is there twice, or shapes or types differ.
            Lists the candidates.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {v.name: _signature(v) for v in graph.input if v.name not in constants}
    outputs = {v.name: _signature(v) for v in graph.output}
    for name, target in given.items():
        if name not in inputs:
            raise UsageError(
                f"--state {name}={target}: the model has no input {name!r}; its inputs are "
                f"{', '.join(map(repr, inputs))}"
            )
        fitting = [o for o, kind in outputs.items() if _fits(inputs[name], kind)]
        candidates = ", ".join(map(repr, fitting)) or "none"
        if target not in outputs:
            raise UsageError(
                f"--state {name}={target}: the model has no output {target!r}; of the shape and "
                f"type of {name!r} are {candidates}"
            )
        if target not in fitting:
            raise UsageError(
                f"--state {name}={target}: {name!r} is {_shown(inputs[name])} and {target!r} is "
                f"{_shown(outputs[target])}; of the same shape and type are {candidates}"
            )
    twice = [target for target in given.values() if list(given.values()).count(target) > 1]
    if twice:
        raise UsageError(
            f"--state names output {twice[0]!r} twice; a state has one input and one output"
        )


def caches(editor: Editor) -> dict[str, str]:
    """Return pairs of an input put before a sequence, and the output that is its new end."""
    tracer = Tracer(editor.model)
    inputs = {value.name for value in editor.graph.input}
    found: dict[str, list[str]] = {}
    for node in editor.graph.node:
        if not is_standard(node, "Concat") or len(node.input) != 2:
            continue
        old, joined = tracer.positions(node.input[0]), tracer.ids(node.output[0])
        shape = tracer.shapes.get(node.input[0])
        if old is None or joined is None or shape is None or len(old.roots) != 1:
            continue
        name, axis = old.roots[0], attributes(node)["axis"] % len(shape)
        if name not in inputs or not np.array_equal(
            old.index.reshape(-1), np.arange(old.index.size)
        ):
            continue
        end = np.take(joined, range(joined.shape[axis] - shape[axis], joined.shape[axis]), axis)
        for value in editor.graph.output:
            ids = tracer.ids(value.name)
            if ids is not None and _same_values(ids, end) and ids.shape == tracer.shapes[name]:
                found.setdefault(name, []).append(value.name)
    return {name: targets[0] for name, targets in found.items() if len(targets) == 1}


def by_name(editor: Editor, taken: Mapping[str, str], notes: Notes) -> dict[str, str]:
    """Return pairs with names that belong together, of the same shape, that depend on each other.

    Args:
        editor: Of the graph.
        taken: Pairs that are known already.
        notes: Receives each pair.
    """
    graph = editor.graph
    constants = {tensor.name for tensor in graph.initializer} | set(taken)
    inputs = {v.name: _signature(v) for v in graph.input if v.name not in constants}
    outputs = {v.name: _signature(v) for v in graph.output if v.name not in taken.values()}
    wanted = {
        name: [o for o, other in outputs.items() if _fits(kind, other) and alike(name, o)]
        for name, kind in inputs.items()
    }
    sequences = [n.input[0] for n in graph.node if is_standard(n, *RECURRENT)]
    signals = ancestors(graph.node, sequences)
    found = {}
    for name, targets in wanted.items():
        rivals = [other for other, theirs in wanted.items() if set(theirs) & set(targets)]
        if not targets or name not in ancestors(graph.node, targets):
            continue
        if len(targets) > 1 or len(rivals) > 1 or name in signals or _may_be_signal(name):
            notes.add(
                f"input {name!r} could be a state that {' or '.join(map(repr, targets))} returns; "
                f"say so with --state {name}=OUTPUT."
            )
            continue
        found[name] = targets[0]
    if found and (len(found) == len(inputs) or len(found) == len(outputs)):
        shown = ", ".join(f"--state {name}={target}" for name, target in found.items())
        notes.add(f"which inputs are states and which are signals is not clear; say so: {shown}.")
        return {}
    for name, target in found.items():
        notes.add(
            f"input {name!r} and output {target!r} are taken for a state by their names and shapes."
        )
    return found


def alike(name: str, target: str) -> bool:
    """Tell whether two names are those of a value before and after, as ``h0`` and ``hn``."""
    before, after = _words(name), _words(target)
    if before == after:
        return False
    stems = {_without(before, _BEFORE), before}
    return _without(after, _AFTER) in stems and before != _without(after, _BEFORE)


def _may_be_signal(name: str) -> bool:
    """Tell whether a name says only that it is an input, not that it remembers anything."""
    words = _words(name)
    return not {*_SIDES}.isdisjoint(words) and {*_MEMORIES}.isdisjoint(words)


def _words(name: str) -> tuple[str, ...]:
    """Split a name at punctuation, capitals and between letters and a final 0 or n."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d+$)", "_", name)
    spaced = re.sub(r"^([A-Za-z]|state|states|hidden|cell)[nN]$", r"\1_n", spaced)
    return tuple(word.lower() for word in re.split(r"[^0-9A-Za-z]+", spaced) if word)


def _without(words: tuple[str, ...], affixes: tuple[str, ...]) -> tuple[str, ...]:
    if len(words) > 1 and words[-1] in affixes:
        return words[:-1]
    return words[1:] if len(words) > 1 and words[0] in affixes else words


def _same_values(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    return np.array_equal(one.reshape(-1), other.reshape(-1))


def _signature(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | str, ...]]:
    kind = value.type.tensor_type
    dims = (d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim)
    return kind.elem_type, tuple(dims)


def _fits(one: tuple[int, tuple[int | str, ...]], other: tuple[int, tuple[int | str, ...]]) -> bool:
    return (
        one[0] == other[0]
        and len(one[1]) == len(other[1])
        and all(
            a == b or isinstance(a, str) or isinstance(b, str)
            for a, b in zip(one[1], other[1], strict=True)
        )
    )


def _shown(signature: tuple[int, tuple[int | str, ...]]) -> str:
    name = onnx.TensorProto.DataType.Name(signature[0]).lower()
    return f"{name} [{', '.join(str(size or '?') for size in signature[1])}]"
