"""What the operations of a trace take and give: immutable trees, equal where they mean the same.

Operations that only name a part of something (a step of a sequence, one of several results) or
that depend on no input are no operations here, but nodes of these trees. What remains are the
operations of the steps in the order in which they ran.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

# A tree is one of the classes below, a tuple of trees, or a literal (number, text, dtype, …).
Tree = Any


@dataclass(frozen=True)
class Input:
    """An input of the module, by position."""

    index: int


@dataclass(frozen=True)
class Parameter:
    """A parameter, buffer or constant tensor, by name."""

    name: str


@dataclass(frozen=True)
class Size:
    """The size of a dynamic axis other than time, by its name; rows are ``"batch"``."""

    name: str


@dataclass(frozen=True)
class Call:
    """A result that depends on no input, such as zeros for an initial state."""

    target: Any
    args: tuple[Tree, ...]
    kwargs: tuple[tuple[str, Tree], ...]


@dataclass(frozen=True)
class Value:
    """The result of an operation, by its place in the program."""

    at: int


@dataclass(frozen=True)
class Item:
    """One of several results."""

    source: Tree
    index: int


@dataclass(frozen=True)
class Piece:
    """A slice of width 1; without its axis unless ``keep``."""

    source: Tree
    dim: int
    index: Tree
    keep: bool


@dataclass(frozen=True)
class Put:
    """A tensor with such a slice overwritten."""

    source: Tree
    value: Tree
    dim: int
    index: int
    keep: bool


# Inside the step of a loop, for step t:


@dataclass(frozen=True)
class Local:
    """The result of an operation of the same step, by its place in the step."""

    at: int


@dataclass(frozen=True)
class Carry:
    """A value that the step before has left, by number."""

    number: int


@dataclass(frozen=True)
class Along:
    """Piece ``start + stride * t`` of a sequence."""

    source: Tree
    dim: int
    start: Tree
    stride: int
    keep: bool


@dataclass(frozen=True)
class AlongValues:
    """The result of the operation at ``start + stride * t``; `AlongLoop` when loops are known."""

    start: int
    stride: int
    count: int


@dataclass(frozen=True)
class AlongLoop:
    """The result of operation ``at`` of step ``start + stride * t`` of an earlier loop."""

    loop: int
    at: int
    start: Tree
    stride: int


# Outside of the loops:


@dataclass(frozen=True)
class StepValue:
    """The result of operation ``at`` of step ``step`` of a loop."""

    loop: int
    at: int
    step: Tree


@dataclass(frozen=True)
class Run:
    """Part of a list: ``element`` for t from 0 up to ``count``."""

    element: Tree
    count: Tree


@dataclass(frozen=True)
class Linear:
    """The whole number ``factor * T + offset``, T being the length of the sequence."""

    factor: int
    offset: int


@dataclass(frozen=True)
class Spec:
    """Shape and element type of a result; dynamic sizes are `Size`, unknown ones None."""

    shape: tuple[Any, ...]
    dtype: Any


@dataclass(frozen=True)
class Operation:
    """One call of an operator.

    Attributes:
        target: The operator.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        path: Module path that it was called in.
        result: What it gives; a tuple for several results.
    """

    target: Any
    args: tuple[Tree, ...]
    kwargs: tuple[tuple[str, Tree], ...]
    path: str
    result: Spec | tuple[Any, ...]


@dataclass(frozen=True)
class Carried:
    """What one step leaves for the next.

    Attributes:
        init: Its value before the first step.
        next: Its value after a step, a tree of that step.
        name: Name of the state, after the cell's module path.
        spec: Its shape and element type.
    """

    init: Tree
    next: Tree
    name: str
    spec: Spec


@dataclass(frozen=True)
class Loop:
    """A loop over time.

    Attributes:
        count: Number of steps.
        body: Operations of one step.
        carried: Values that go from step to step.
    """

    count: Tree
    body: tuple[Operation, ...]
    carried: tuple[Carried, ...]


@dataclass(frozen=True)
class Program:
    """What a module computes: operations and loops in order.

    Attributes:
        items: In order; trees refer to them by place.
        outputs: Trees of what is returned.
    """

    items: tuple[Operation | Loop, ...]
    outputs: tuple[Tree, ...]


def children(tree: Tree) -> tuple[Tree, ...]:
    """Return the trees that a tree is made of."""
    match tree:
        case tuple():
            return tree
        case Call():
            return (*tree.args, *(value for _, value in tree.kwargs))
        case Item() | Piece() | Along():
            return (tree.source,)
        case Put():
            return (tree.source, tree.value)
        case Run():
            return (tree.element,)
    return ()


def walk(tree: Tree) -> Iterator[Tree]:
    """Yield a tree and all that it is made of."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def rebuilt(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return a tree of the same kind with ``change`` applied to what it is made of."""
    match tree:
        case tuple():
            return tuple(change(child) for child in tree)
        case Call():
            return Call(
                tree.target,
                tuple(change(child) for child in tree.args),
                tuple((name, change(value)) for name, value in tree.kwargs),
            )
        case Item() | Piece() | Along():
            return replace(tree, source=change(tree.source))
        case Put():
            return replace(tree, source=change(tree.source), value=change(tree.value))
        case Run():
            return replace(tree, element=change(tree.element))
    return tree


def with_trees(operation: Operation, change: Callable[[Tree], Tree]) -> Operation:
    """Return an operation with changed arguments."""
    return replace(
        operation,
        args=tuple(change(arg) for arg in operation.args),
        kwargs=tuple((name, change(value)) for name, value in operation.kwargs),
    )


def arguments(operation: Operation) -> tuple[Tree, ...]:
    """Return all arguments of an operation as one tree."""
    return (*operation.args, *(value for _, value in operation.kwargs))


def is_tensor(tree: Tree) -> bool:
    """Say whether a tree stands for a tensor, as far as one can tell, and not for a literal."""
    return isinstance(
        tree,
        Input | Parameter | Call | Value | Item | Piece | Put | Local | Carry | Along
        | AlongValues | AlongLoop | StepValue,
    )  # fmt: skip


def key_of(operation: Operation) -> Hashable:
    """Return what the same operation has in common in all steps."""
    return operation.target, operation.path, _outline(arguments(operation))


def _outline(tree: Tree) -> Hashable:
    if is_tensor(tree):
        return "tensor"
    if isinstance(tree, tuple):  # lists may be as long as the sequence
        outlines = [_outline(item) for item in tree]
        return tuple(o for i, o in enumerate(outlines) if i == 0 or o != outlines[i - 1])
    if isinstance(tree, int) and not isinstance(tree, bool):
        return int
    return type(tree), tree
