"""Compute what is constant: weights that are expressions, conditions, sizes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_graphs import fold, folded_elements
from edgernn_exporters.onnx_import.editing import reads
from edgernn_exporters.onnx_import.limits import DEFAULT, Limits
from edgernn_exporters.onnx_import.naming import Names, make_unique, rename_reads
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.shapes import inferred, shapes_in, types_in
from edgernn_exporters.onnx_import.walking import described
from edgernn_exporters.onnx_nodes import STANDARD, attributes, is_standard, subgraphs

_ROUNDS = 20
_SMALL_ELEMENTS = 1 << 16  # a constant may grow to this size; beyond, it must not grow
_FROM_HERE = [np.array([at]) for at in (0, 0, 0, 1)]  # what a Slice does where it is not told
_CONSTANT_KEYS = ("value", "value_float", "value_floats", "value_int", "value_ints")

Shapes = Mapping[str, list[int | str | None]]


def simplify(
    model: onnx.ModelProto, notes: Notes, limits: Limits = DEFAULT, keep: Collection[str] = ()
) -> None:
    """Fold a model, in place, until nothing changes.

    Nodes with constant inputs become constants, unless they would make the file grow much; an
    ``If`` with a constant condition becomes its branch; ``Shape`` of known sizes is a constant;
    nodes that hand on their input go, and so do pairs of views that undo each other, and what no
    output needs.

    Args:
        model: Without model-local functions of other programs.
        notes: Receives a sentence for each ``If``.
        limits: Budgets.
        keep: Constants that stay though no node reads them.

    Raises:
        ModelError: A constant would take more than the budget.
    """
    names = Names(model)
    make_unique(model, names)
    _own_constants(model)
    state = _State(model, names, notes, limits)
    for _ in range(_ROUNDS):
        state.changed = False
        graph = inferred(model)
        _Pass(state, shapes_in(graph), types_in(graph)).graph(model.graph, {}, {})
        _give_results(model.graph)
        prune(model, keep)
        if not state.changed:
            return


def prune(model: onnx.ModelProto, keep: Collection[str] = ()) -> None:
    """Remove nodes and constants that no output depends on, but ``keep``, in place."""
    _prune(model.graph, keep)


def _give_results(graph: onnx.GraphProto) -> None:
    """Let nodes make a graph's outputs themselves where an ``Identity`` does it for them."""
    results = {value.name for value in graph.output}
    made = {name: node for node in graph.node for name in node.output if name}
    for identity in list(graph.node):
        source, result = [*identity.input, ""][0], identity.output[0]
        is_copy = is_standard(identity, "Identity")
        if not is_copy or result not in results or source in results or source not in made:
            continue
        graph.node.remove(identity)
        producer = made[source]
        producer.output[:] = [result if name == source else name for name in producer.output]
        made[result] = producer
        for node in graph.node:
            rename_reads(node, {source: result})


def _own_constants(model: onnx.ModelProto) -> None:
    """Take constants from the list of inputs, where files before IR version 4 name them, too."""
    fixed = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in fixed]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)


class _State:
    """What is kept from pass to pass."""

    def __init__(self, model: onnx.ModelProto, names: Names, notes: Notes, limits: Limits) -> None:
        self.model, self.names, self.notes, self.limits = model, names, notes, limits
        self.left_bytes = limits.tensor_bytes
        self.changed = False


class _Pass:
    """Go over a graph and those nested in it once."""

    def __init__(self, state: _State, shapes: Shapes, types: Mapping[str, int]) -> None:
        self._state, self._shapes, self._types = state, shapes, types
        self._producers: dict[str, onnx.NodeProto] = {}

    def graph(
        self,
        graph: onnx.GraphProto,
        outer: Mapping[str, onnx.TensorProto],
        renamed: dict[str, str],
    ) -> None:
        """Fold a graph in place.

        Args:
            graph: The graph.
            outer: Constants of the graphs around it.
            renamed: What is to be read in place of values that are gone; added to.
        """
        known = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
        results = {value.name for value in graph.output}
        waiting, done = deque(graph.node), []
        while waiting:
            node = waiting.popleft()
            rename_reads(node, renamed)
            self._producers.update((name, node) for name in node.output)
            if self._branch(node, graph, known, renamed, results, waiting):
                continue
            for inner in subgraphs(node):
                self.graph(inner, known, renamed)
            if (source := self._handed_on(node, known)) and node.output[0] not in results:
                renamed[node.output[0]] = source
                self._state.changed = True
            elif (values := self._values(node, known)) is not None:
                for name, value in values.items():
                    tensor = numpy_helper.from_array(value, name)
                    graph.initializer.append(tensor)
                    known[name] = graph.initializer[-1]
                self._state.changed = True
            else:
                done.append(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(done)

    def _branch(
        self,
        node: onnx.NodeProto,
        graph: onnx.GraphProto,
        known: dict[str, onnx.TensorProto],
        renamed: dict[str, str],
        results: set[str],
        waiting: deque[onnx.NodeProto],
    ) -> bool:
        """Put the branch of an ``If`` with a constant condition in its place."""
        if not is_standard(node, "If") or node.input[0] not in known:
            return False
        condition = numpy_helper.to_array(known[node.input[0]])
        if condition.size != 1:
            return False
        which = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        branch: onnx.GraphProto = attributes(node)[which]
        for tensor in branch.initializer:
            graph.initializer.append(tensor)
            known[tensor.name] = graph.initializer[-1]
        handed = []
        for output, value in zip(node.output, branch.output, strict=True):
            if output in results:
                handed.append(helper.make_node("Identity", [value.name], [output]))
            elif output:
                renamed[output] = value.name
        waiting.extendleft(reversed([*branch.node, *handed]))
        self._state.notes.add(f"{described(node)} has a constant condition: its {which} stays.")
        self._state.changed = True
        return True

    def _values(
        self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]
    ) -> dict[str, NDArray[Any]] | None:
        """Return the values of a node's outputs if they are constant and may be stored."""
        if node.domain not in STANDARD or any(True for _ in subgraphs(node)):
            return None
        if node.op_type == "Constant":
            return _constant(node)
        sizes = self._sizes(node, known)
        if sizes is not None:
            return {node.output[0]: sizes}
        tensors = {name: known.get(name) for name in node.input if name}
        if not tensors or any(tensor is None for tensor in tensors.values()):
            return None
        inputs = {name: numpy_helper.to_array(t) for name, t in tensors.items() if t is not None}
        elements = folded_elements(node, inputs, self._state.model)
        if elements is None or not self._may_grow(node, inputs, elements):
            return None
        values = fold(node, inputs, self._state.model, elements)
        if values is not None:
            self._state.left_bytes -= sum(value.nbytes for value in values.values())
        return values

    def _may_grow(
        self, node: onnx.NodeProto, inputs: Mapping[str, NDArray[Any]], elements: int
    ) -> bool:
        """Tell whether the result of a node may be stored; refuse what no machine should hold."""
        budget = self._state.limits.tensor_bytes
        if elements > budget:
            raise ModelError(
                f"{described(node)} makes a constant of {elements:,} elements, more than the "
                f"{budget:,} bytes that are allowed; if you trust the file, allow more with "
                f"--max-tensor"
            )
        largest = max(_SMALL_ELEMENTS, sum(array.size for array in inputs.values()))
        width = max((array.itemsize for array in inputs.values()), default=8)
        return elements <= largest and elements * width <= self._state.left_bytes

    def _sizes(
        self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]
    ) -> NDArray[Any] | None:
        """Return what ``Shape``, ``Size``, or a part of a ``Shape`` gives, if it is known."""
        if node.op_type in ("Shape", "Size"):
            dims = self._part(node)
            known_dims = [size for size in dims or () if isinstance(size, int)]
            if dims is None or len(known_dims) < len(dims):
                return None
            value = known_dims if node.op_type == "Shape" else math.prod(known_dims)
            return np.asarray(value, np.int64)
        if node.op_type not in ("Gather", "Slice") or len(node.input) < 2:
            return None
        shape = self._producers.get(node.input[0])
        if shape is None or not is_standard(shape, "Shape"):
            return None
        dims = self._part(shape)
        if dims is None or not all(name in known for name in node.input[1:]):
            return None
        given = [numpy_helper.to_array(known[name]) for name in node.input[1:]]
        index = given[0]
        if node.op_type == "Slice":
            start, end, _, step = (int(part[0]) for part in (*given, *_FROM_HERE[len(given) :]))
            index = np.arange(len(dims))[start:end:step]
        if not index.size or not ((index >= -len(dims)) & (index < len(dims))).all():
            return None
        sizes = [dims[int(place)] for place in index.reshape(-1)]
        if not all(isinstance(size, int) for size in sizes):
            return None
        return np.asarray(sizes, np.int64).reshape(index.shape)

    def _part(self, shape: onnx.NodeProto) -> list[int | str | None] | None:
        dims = self._shapes.get(shape.input[0])
        given = attributes(shape)
        return None if dims is None else dims[given.get("start", 0) : given.get("end")]

    def _handed_on(self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> str | None:
        """Return the input that a node hands on unchanged, or None."""
        if node.domain not in STANDARD or not node.input or not node.input[0]:
            return None
        source, given = node.input[0], attributes(node)
        if node.op_type == "Identity":
            same = True
        elif node.op_type == "Dropout":  # training_mode is off if it is not given
            same = not any(node.output[1:]) and not any(node.input[2:])
        elif node.op_type == "Concat":
            same = len(node.input) == 1
        elif node.op_type == "Transpose":
            perm = list(given.get("perm", ()))
            same = bool(perm) and perm == sorted(perm)
        elif node.op_type == "Cast":
            same = self._types.get(source) == given["to"]
        elif node.op_type == "Expand" and node.input[1] in known:
            sizes = numpy_helper.to_array(known[node.input[1]])
            rank = len(self._shapes.get(source, ()))
            same = source in self._shapes and len(sizes) <= rank and bool((sizes == 1).all())
        else:
            same = False
        return source if same else self._before_pair(node, known)

    def _before_pair(
        self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]
    ) -> str | None:
        """Return what a view and its inverse before it hand on, or None."""
        first = self._producers.get(node.input[0])
        if first is None or first.domain not in STANDARD:
            return None
        if {first.op_type, node.op_type} == {"Squeeze", "Unsqueeze"}:
            wide = node.input[0] if node.op_type == "Squeeze" else first.input[0]
            undone = _axes(first, known, self._shapes.get(wide))
            same = undone is not None and undone == _axes(node, known, self._shapes.get(wide))
        elif first.op_type == node.op_type == "Transpose":
            perms = [list(attributes(n).get("perm", ())) for n in (first, node)]
            rank = max(map(len, perms))
            one, two = (perm or list(range(rank))[::-1] for perm in perms)
            same = [one[place] for place in two] == list(range(rank))
        else:
            same = False
        return str(first.input[0]) if same else None


def _axes(
    node: onnx.NodeProto,
    known: Mapping[str, onnx.TensorProto],
    wide: list[int | str | None] | None,
) -> list[int] | None:
    """Return the axes that a node adds or removes; None if they or the rank are not known."""
    if wide is None or len(node.input) < 2 or node.input[1] not in known:
        return None
    axes = numpy_helper.to_array(known[node.input[1]]).reshape(-1)
    return sorted(int(axis) % len(wide) for axis in axes)


def _constant(node: onnx.NodeProto) -> dict[str, NDArray[Any]] | None:
    if not node.attribute:
        raise ModelError(f"{described(node)} holds no value; the file is damaged, export it again")
    name, value = next(iter(attributes(node).items()))
    if name not in _CONSTANT_KEYS:
        return None
    if name == "value":
        return {node.output[0]: numpy_helper.to_array(value)}
    return {node.output[0]: np.asarray(value, np.float32 if "float" in name else np.int64)}


def _prune(graph: onnx.GraphProto, keep: Collection[str] = ()) -> set[str]:
    """Remove what no output of a graph needs; return the names that the rest reads."""
    wanted, kept = {*keep, *(value.name for value in graph.output)}, []
    for node in reversed(graph.node):
        if wanted.isdisjoint(filter(None, node.output)):
            continue
        for inner in subgraphs(node):
            _prune(inner)
        wanted.update(reads(node))
        kept.append(node)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(reversed(kept))
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in wanted:
            del graph.initializer[place]
    return wanted
