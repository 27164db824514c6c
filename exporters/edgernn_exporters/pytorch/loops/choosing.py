"""Choose which of the values that loops carry are states of the exported model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgernn_exporters.pytorch.loops.expressions import (
    Along,
    AlongLoop,
    Call,
    Carried,
    Input,
    Item,
    Linear,
    Local,
    Loop,
    Operation,
    Piece,
    Program,
    StepValue,
    Tree,
    Value,
    arguments,
    rebuilt,
    walk,
)
from edgernn_exporters.pytorch.loops.looping import BATCH, layered
from edgernn_exporters.pytorch.loops.planning import is_last
from edgernn_exporters.pytorch.rewiring import StateTensor

aten = torch.ops.aten
_EVERY_STEP = Linear(1, 0)


@dataclass(frozen=True)
class Choice:
    """What becomes of the values that loops carry.

    Attributes:
        states: Those that are states of their own, by the place of the loop and their number.
        whole_only: Why the model can only run whole sequences; empty if it can run step by step.
    """

    states: dict[tuple[int, int], StateTensor]
    whole_only: tuple[str, ...]


def choose_states(program: Program, given: set[int], evaluate: Callable[[Tree], Tensor]) -> Choice:
    """Decide for each value that a loop carries whether it is a state.

    Args:
        program: What the module computes.
        given: Inputs that are states already.
        evaluate: Returns the value of a tree that depends on no input, for one row.
    """
    states: dict[tuple[int, int], StateTensor] = {}
    reasons: list[str] = []
    names: dict[str, int] = {}
    for place, loop in enumerate(program.items):
        if not isinstance(loop, Loop):
            continue
        for number, carried in enumerate(loop.carried):
            init = _inlined(program, carried.init)
            reason = _why_not(loop, carried, init, given)
            if reason is not None:
                reasons.append(f"{carried.name!r} {reason}")
            elif not _starts_from(init, given):
                names[carried.name] = again = names.get(carried.name, 0) + 1
                name = carried.name if again == 1 else f"{carried.name}_{again}"
                states[place, number] = _state(carried, name, evaluate(init))
    return Choice(states, tuple(reasons))


def state_pairs(program: Program) -> dict[int, int]:
    """Return the inputs that loops start from, with the outputs that are what they end with.

    Returns:
        For the place of an input, that of an output.
    """
    pairs: dict[int, int] = {}
    for place, output in enumerate(program.outputs):
        first = _first_of(program, output)
        if isinstance(first, Input) and first.index not in pairs:
            pairs[first.index] = place
    return pairs


def _why_not(loop: Loop, carried: Carried, init: Tree, given: set[int]) -> str | None:
    trees = [*(arguments(operation) for operation in loop.body), *(c.next for c in loop.carried)]
    parts = [part for tree in trees for part in walk(tree)]
    along = [part for part in parts if isinstance(part, Along | AlongLoop)]
    if any(part.stride < 0 for part in along):
        return "runs from the last step to the first"
    if loop.count != _EVERY_STEP or any(part.start != 0 for part in along):
        return "does not run over all steps of the sequence"
    if _is_computed(init) and not _starts_from(init, given):
        return "starts from what the module computes from its inputs"
    if carried.spec.dtype != torch.float32 or None in carried.spec.shape:
        return f"is of type {carried.spec.dtype} and shape {list(carried.spec.shape)}"
    return None


def _inlined(program: Program, tree: Tree) -> Tree:
    """Write operations outside of loops into the tree that they are used in."""
    if isinstance(tree, Value):
        item = program.items[tree.at]
        assert isinstance(item, Operation)
        tree = Call(item.target, item.args, item.kwargs)
    return rebuilt(tree, lambda part: _inlined(program, part))


def _is_computed(tree: Tree) -> bool:
    return any(isinstance(part, Input | StepValue | AlongLoop) for part in walk(tree))


def _starts_from(tree: Tree, given: set[int]) -> bool:
    return any(isinstance(part, Input) and part.index in given for part in walk(tree))


def _state(carried: Carried, name: str, first: Tensor) -> StateTensor:
    """Describe a state; its first value is the same in all rows."""
    first = first.expand([1 if size == BATCH else size for size in carried.spec.shape])
    first = layered(first, carried.spec)
    return StateTensor(name, 1, first.shape[-1], first if first.any() else None)


def _first_of(program: Program, tree: Tree) -> Tree | None:
    """Return what is in a tree's place before the first step, if it is what loops end with."""
    source = tree.source if isinstance(tree, Item) else tree
    if isinstance(source, StepValue):
        loop = program.items[source.loop]
        assert isinstance(loop, Loop)
        own: Tree = Local(source.at)
        own = Item(own, tree.index) if isinstance(tree, Item) else own
        if not is_last(source.step, loop.count):
            return None
        return next((c.init for c in loop.carried if c.next == own), None)
    if not isinstance(tree, Value):
        return None
    operation = program.items[tree.at]
    assert not isinstance(operation, Loop)
    if operation.target is aten.stack.default:
        parts = operation.args[0]
    elif operation.target is aten.unsqueeze.default:
        parts = operation.args[:1]
    else:
        return None
    dim = operation.args[1] if len(operation.args) > 1 else 0
    firsts = [_first_of(program, part) for part in parts]
    head = firsts[0]
    if not isinstance(head, Piece) or head.dim != dim:
        return None
    wanted = [Piece(head.source, dim, place, keep=False) for place in range(len(firsts))]
    return head.source if firsts == wanted else None
