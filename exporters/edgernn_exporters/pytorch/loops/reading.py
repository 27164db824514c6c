"""Read the trace of a module at one fixed length into operations and trees."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.loops.expressions import (
    Call,
    Input,
    Item,
    Operation,
    Parameter,
    Piece,
    Put,
    Size,
    Spec,
    Tree,
    Value,
    arguments,
    is_tensor,
    key_of,
    walk,
    with_trees,
)

aten = torch.ops.aten
_END = 2**62  # PyTorch writes "to the end" as the largest integer
_SAME = (  # these return what they are given
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.detach_.default,
    aten.lift_fresh_copy.default,
)
_FOR_ANY_LAYOUT = {  # a sequence that is stacked over time lies differently in memory
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}
_LIKE: dict[Any, Tree] = {
    aten.zeros_like.default: 0.0,
    aten.ones_like.default: 1.0,
    aten.full_like.default: None,
    aten.empty_like.default: 0.0,
    aten.new_zeros.default: 0.0,
    aten.new_ones.default: 1.0,
    aten.new_full.default: None,
    aten.new_empty.default: 0.0,
}


@dataclass
class Reading:
    """A trace at one length.

    Attributes:
        operations: In the order in which they ran.
        outputs: What is returned.
        states: Names that cells gave to the states that they were called with.
        constants: Tensors that forward made out of numbers, by name.
        specs: Shape and type of every tensor.
    """

    operations: list[Operation] = field(default_factory=list)
    outputs: tuple[Tree, ...] = ()
    states: dict[Tree, str] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    specs: dict[Tree, Spec] = field(default_factory=dict)


def read(program: ExportedProgram, sizes: Sequence[Mapping[int, str]]) -> Reading:
    """Read a traced module.

    Args:
        program: Traced at one length.
        sizes: Of each input, the names of its dynamic axes.

    Raises:
        ModelError: The trace holds what cannot be written into a graph, such as a changed buffer.
    """
    if any(_changes_its_arguments(node) for node in program.graph.nodes):
        program = program.run_decompositions({})
    first = _Reader(program, sizes, frozenset()).read()
    return _Reader(program, sizes, frozenset(map(key_of, first.operations))).read()


def _changes_its_arguments(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable) and node.target not in _SAME


class _Reader:
    """Read a trace.

    Args:
        program: The trace.
        sizes: Of each input, the names of its dynamic axes.
        kinds: Keys of operations that depend on inputs. In the first step of a loop they may depend
            on none, because the initial state is constant, and are operations all the same.
    """

    def __init__(
        self,
        program: ExportedProgram,
        sizes: Sequence[Mapping[int, str]],
        kinds: frozenset[Hashable],
    ) -> None:
        self._program = program
        self._kinds = kinds
        self._sizes = sizes
        self._symbols: dict[Any, Size] = {}
        self._trees: dict[torch.fx.Node, Tree] = {}
        self._result = Reading()
        self._written: dict[Tree, Operation] = {}  # how to stack what was written in pieces
        self._stacked: dict[Tree, Value] = {}  # where that has been done, because it is used

    def read(self) -> Reading:
        inputs = 0
        for spec in self._program.graph_signature.input_specs:
            node = next(n for n in self._program.graph.nodes if n.name == spec.arg.name)
            if spec.kind is InputKind.USER_INPUT:
                self._trees[node] = Input(inputs)
                for axis, name in self._sizes[inputs].items():
                    self._symbols[node.meta["val"].shape[axis].node.expr] = Size(name)
                inputs += 1
            else:
                self._trees[node] = Parameter(str(spec.target))
                if spec.kind is InputKind.CONSTANT_TENSOR:
                    constant = self._program.constants[str(spec.target)]
                    assert isinstance(constant, Tensor)
                    self._result.constants[str(spec.target)] = constant
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                tree = self._trees[node] = self._call(node)
                spec = self._spec_of(node.meta.get("val"))
                if isinstance(spec, Spec):
                    self._result.specs[tree] = spec
            elif node.op == "output":
                self._outputs(node)
            elif node.op != "placeholder":
                raise ModelError(f"forward traces to {node.op} {node.target}, which has no graph")
        return self._result

    def _outputs(self, node: torch.fx.Node) -> None:
        trees = self._tree(node.args[0])
        for spec in self._program.graph_signature.output_specs:
            if spec.kind is not OutputKind.USER_OUTPUT:
                raise ModelError(
                    f"forward changes {spec.target!r} of the module, which a graph cannot; keep "
                    f"what goes from step to step in local variables"
                )
        self._result.outputs = tuple(self._used(tree) for tree in trees)

    def _call(self, node: torch.fx.Node) -> Tree:
        target: Any = node.target
        args = self._tree(tuple(node.args))
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and value.node.expr in self._symbols:
            return self._symbols[value.node.expr]
        if target is torch.ops.edgernn.state.default:
            self._result.states.setdefault(args[0], args[1])
            return args[0]
        if target in _LIKE and (constant := self._constant_like(node, args)) is not None:
            return constant
        if (part := self._part(node, target, args)) is not None:
            return part
        kwargs = tuple(sorted((name, self._tree(value)) for name, value in node.kwargs.items()))
        target = _FOR_ANY_LAYOUT.get(target, target)
        operation = Operation(target, args, kwargs, _path_of(node), self._spec_of(value))
        constant = all(not isinstance(t, Input | Value | Put) for t in walk(arguments(operation)))
        if constant and key_of(operation) not in self._kinds:
            return Call(target, args, kwargs)
        operation = with_trees(operation, self._used)
        self._result.operations.append(operation)
        return Value(len(self._result.operations) - 1)

    def _tree(self, argument: Any) -> Tree:
        if isinstance(argument, torch.fx.Node):
            return self._trees[argument]
        if isinstance(argument, list | tuple):
            return tuple(self._tree(item) for item in argument)
        if isinstance(argument, slice | dict):
            raise ModelError(f"forward traces to an argument {argument!r} that has no graph")
        return argument

    def _constant_like(self, node: torch.fx.Node, args: tuple[Tree, ...]) -> Tree | None:
        """Turn zeros shaped like a tensor into zeros of its shape: they depend on no value."""
        value = node.meta["val"]
        shape = self._shape_of(value)
        if None in shape:
            return None
        fill: Tree = _LIKE[node.target]
        if fill is None:
            fill = args[-1] if len(args) > 1 else node.kwargs.get("fill_value")
            if is_tensor(fill):
                return None
        return Call(aten.full.default, (shape, fill), (("dtype", value.dtype),))

    def _part(self, node: torch.fx.Node, target: Any, args: tuple[Tree, ...]) -> Tree | None:
        """Read what only names a part of something, or returns it as it is."""
        if target is operator.getitem:
            source, index = args
            many = node.args[0]
            assert isinstance(many, torch.fx.Node)
            if many.target is aten.unbind.int:
                return self._piece(many.args[0], _get(many, 1, 0), index, keep=False)
            if many.target is aten.split.Tensor and many.args[1] == 1:
                return self._piece(many.args[0], _get(many, 2, 0), index, keep=True)
            return Item(source, index)
        if target is aten.unbind.int or (target is aten.split.Tensor and args[1] == 1):
            return ()  # only its items are read
        if target is aten.select.int:
            return self._piece(node.args[0], args[1], args[2], keep=False)
        if target is aten.slice.Tensor:
            dim, start, stop, step = (
                _get(node, i, d) for i, d in ((1, 0), (2, None), (3, None), (4, 1))
            )
            size = _size(node.args[0], dim)
            start, stop = _bounds(start, stop, size)
            if step == 1 and start == 0 and (stop >= _END or stop == size):
                return args[0]
            if step == 1 and stop - start == 1 and isinstance(size, int):
                return self._piece(node.args[0], dim, start, keep=True)
        if target in (aten.select_scatter.default, aten.slice_scatter.default):
            return self._put(node, target, args)
        if target is aten.copy.default:
            into, source = (item.meta["val"] for item in node.args[:2])  # type: ignore[union-attr]
            if into.shape == source.shape and into.dtype == source.dtype:
                return args[1]
        if target in _SAME or (target is aten.dropout.default and not args[2]):
            return args[0]
        return None

    def _piece(self, source: Any, dim: int, index: Any, *, keep: bool) -> Tree | None:
        tree, size = self._trees[source], _size(source, dim)
        dim %= source.meta["val"].ndim
        if not isinstance(size, int) or not isinstance(index, int):
            return None
        index %= size
        while isinstance(tree, Put) and (tree.dim, tree.keep) == (dim, keep):
            if tree.index == index:
                return tree.value
            tree = tree.source
        return Piece(tree, dim, index, keep)

    def _put(self, node: torch.fx.Node, target: Any, args: tuple[Tree, ...]) -> Tree | None:
        """Read ``y[:, t] = value``; when all of y is overwritten, y is the values stacked."""
        keep = target is aten.slice_scatter.default
        dim = _get(node, 2, 0) % node.meta["val"].ndim
        size = _size(node.args[0], dim)
        if keep:
            start, stop = _bounds(_get(node, 3, None), _get(node, 4, None), size)
            if start == 0 and (stop >= _END or stop == size):
                return args[1]
            if _get(node, 5, 1) != 1 or stop - start != 1:
                return None
            index = start
        else:
            index = args[3]
        if not isinstance(size, int):
            return None
        put = Put(args[0], args[1], dim, index % size, keep)
        written = _pieces(put)
        if len(written) < size:
            return put
        values = tuple(written[place] for place in range(size))
        operator_ = aten.cat.default if keep else aten.stack.default
        spec = self._spec_of(node.meta["val"])
        self._written[put] = Operation(operator_, (values, dim), (), _path_of(node), spec)
        return put

    def _used(self, tree: Tree) -> Tree:
        """Return a tree for use in an operation: what was written piece by piece is stacked."""
        if isinstance(tree, tuple):
            return tuple(self._used(item) for item in tree)
        if isinstance(tree, Piece):
            return Piece(self._used(tree.source), tree.dim, tree.index, tree.keep)
        if isinstance(tree, Item):
            return Item(self._used(tree.source), tree.index)
        if not isinstance(tree, Put):
            return tree
        if tree in self._stacked:
            return self._stacked[tree]
        operation = self._written.get(tree)
        if operation is None:
            raise ModelError(
                "forward writes only some steps of a tensor (y[:, t] = …) and then uses it; write "
                "all of them, or collect the steps in a list for torch.stack"
            )
        values, dim = operation.args
        operation = Operation(
            operation.target, (self._used(values), dim), (), operation.path, operation.result
        )
        self._result.operations.append(operation)
        self._stacked[tree] = Value(len(self._result.operations) - 1)
        return self._stacked[tree]

    def _spec_of(self, value: Any) -> Spec | tuple[Any, ...]:
        if isinstance(value, Tensor):
            return Spec(self._shape_of(value), value.dtype)
        return tuple(map(self._spec_of, value)) if isinstance(value, list | tuple) else ()

    def _shape_of(self, value: Tensor) -> tuple[Any, ...]:
        return tuple(
            self._symbols.get(size.node.expr) if isinstance(size, torch.SymInt) else int(size)
            for size in value.shape
        )


def _plain(size: int | torch.SymInt) -> int | torch.SymInt:
    return size if isinstance(size, torch.SymInt) else int(size)


def _pieces(put: Tree) -> dict[int, Tree]:
    """Return the values of consecutive writes along one axis, the last one for each place."""
    assert isinstance(put, Put)
    found: dict[int, Tree] = {}
    tree: Tree = put
    while isinstance(tree, Put) and (tree.dim, tree.keep) == (put.dim, put.keep):
        found.setdefault(tree.index, tree.value)
        tree = tree.source
    return found


def _get(node: torch.fx.Node, place: int, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else default


def _size(node: Any, dim: int) -> Any:
    return _plain(node.meta["val"].shape[dim])


def _bounds(start: Any, stop: Any, size: Any) -> tuple[Any, Any]:
    """Return the bounds of a slice, counted from the front where the size is known."""
    start, stop = 0 if start is None else start, _END if stop is None else stop
    if isinstance(size, int) and isinstance(start, int) and isinstance(stop, int):
        start = max(start + size, 0) if start < 0 else min(start, size)
        stop = max(stop + size, 0) if stop < 0 else min(stop, size)
    return start, stop


def _path_of(node: torch.fx.Node) -> str:
    """Return the path of the module that a node was made in, inside of the wrapper."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return path.removeprefix("module").removeprefix(".")
