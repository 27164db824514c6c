"""Cut a loop into recurrent operators, operations over the whole sequence, and scans.

Operations of a step that take part in a cycle, through what one step leaves for the next, must run
step by step. Where such a cycle is one of PyTorch's cells with its own state, it is an operator of
ONNX. All else need not wait for the step before: it runs on the whole sequence where there is a
rule for that (`edgernn_exporters.pytorch.loops.whole`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edgernn_exporters.pytorch.loops.expressions import (
    Along,
    AlongLoop,
    Carry,
    Item,
    Local,
    Loop,
    Operation,
    Parameter,
    Program,
    StepValue,
    Tree,
    arguments,
    children,
    walk,
)
from edgernn_exporters.pytorch.loops.naming import CELLS
from edgernn_exporters.pytorch.loops.whole import runs_whole


@dataclass(frozen=True)
class Cell:
    """One of PyTorch's cells over the whole sequence.

    Attributes:
        at: Its place in the step.
        carried: Numbers of its states, h and for LSTM c.
    """

    at: int
    carried: tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """An operation over the whole sequence, or once if it is the same in every step."""

    at: int


@dataclass(frozen=True)
class Scanned:
    """Operations that run step by step.

    Attributes:
        ats: Their places in the step.
        carried: Numbers of what they leave for the next step.
        outs: Results that something else reads in every step.
    """

    ats: tuple[int, ...]
    carried: tuple[int, ...]
    outs: tuple[Tree, ...] = ()


Stage = Cell | Whole | Scanned


def plan(program: Program, at: int) -> list[Stage]:
    """Return the stages of the loop at a place of a program, in an order that they can run in."""
    loop = program.items[at]
    assert isinstance(loop, Loop)
    varying = _varying(loop)

    def varies(tree: Tree) -> bool:
        return _varies(tree, varying)

    stages: list[Stage] = []
    for group in _cycles(loop):
        own = tuple(n for n, c in enumerate(loop.carried) if _roots(c.next) & set(group))
        cyclic = tuple(n for n in own if any(Carry(n) in _leaves(loop.body[at]) for at in group))
        if len(group) == 1 and (cell := _cell(program, at, group[0], cyclic)) is not None:
            stages.append(cell)
        elif not cyclic and (group[0] not in varying or runs_whole(loop.body[group[0]], varies)):
            stages.append(Whole(group[0]))
        elif stages and isinstance(last := stages[-1], Scanned):
            stages[-1] = Scanned((*last.ats, *group), (*last.carried, *cyclic))
        else:
            stages.append(Scanned(tuple(group), cyclic))
    return [
        replace(stage, outs=_outs(program, at, stage, stages)) if isinstance(stage, Scanned)
        else stage
        for stage in stages
    ]  # fmt: skip


def _outs(
    program: Program, place: int, stage: Scanned, stages: Sequence[Stage]
) -> tuple[Tree, ...]:
    """Return the results of a scan that are read by other stages, loops or operations."""
    loop = program.items[place]
    assert isinstance(loop, Loop)
    read: list[Tree] = []
    kept = {number for s in stages if not isinstance(s, Whole) for number in s.carried}
    for at, operation in enumerate(loop.body):
        if at not in stage.ats:
            leaves = list(units(arguments(operation)))
            read += leaves
            read += [
                unit
                for leaf in leaves
                if isinstance(leaf, Carry)
                for unit in units(loop.carried[leaf.number].next)
            ]
    for number, carried in enumerate(loop.carried):
        if number not in kept:
            read += units(carried.next)
    outside = {leaf for at, operation in enumerate(loop.body) if at not in stage.ats
               for leaf in units(arguments(operation))}  # fmt: skip
    before = [Carry(number) for number in stage.carried if Carry(number) in outside]
    finals = [carried.next for carried in loop.carried]
    for tree in _all_trees(program):
        for part in walk(tree):
            source = part.source if isinstance(part, Item) else part
            if not isinstance(source, AlongLoop | StepValue) or source.loop != place:
                continue
            own: Tree = Local(source.at)
            own = Item(own, part.index) if isinstance(part, Item) else own
            last = isinstance(source, StepValue) and is_last(source.step, loop.count)
            if not (last and own in finals):
                read.append(own)
    tuples = {at for at in stage.ats if isinstance(loop.body[at].result, tuple)}
    return tuple(before) + tuple(
        unit
        for unit in dict.fromkeys(read)
        if (isinstance(unit, Local) and unit.at in stage.ats and unit.at not in tuples)
        or (
            isinstance(unit, Item)
            and isinstance(unit.source, Local)
            and unit.source.at in stage.ats
        )
    )


def _all_trees(program: Program) -> Iterator[Tree]:
    """Yield all trees of a program."""
    for item in program.items:
        if isinstance(item, Loop):
            yield from (arguments(operation) for operation in item.body)
            yield from ((carried.init, carried.next) for carried in item.carried)
        else:
            yield arguments(item)
    yield program.outputs


def units(tree: Tree) -> Iterator[Tree]:
    """Yield the smallest parts of a tree that have a value of their own in each step."""
    own = tree.source if isinstance(tree, Item) else tree
    if isinstance(own, Local | AlongLoop) or isinstance(tree, Carry | Along):
        yield tree
    else:
        for child in children(tree):
            yield from units(child)


def _leaves(operation: Operation) -> set[Tree]:
    return set(walk(arguments(operation)))


def _roots(tree: Tree) -> set[int]:
    return {part.at for part in walk(tree) if isinstance(part, Local)}


def _varies(tree: Tree, varying: set[int]) -> bool:
    return any(
        isinstance(part, Carry | Along | AlongLoop)
        or (isinstance(part, Local) and part.at in varying)
        for part in walk(tree)
    )


def _varying(loop: Loop) -> set[int]:
    """Return the places of the operations whose results differ from step to step."""
    varying: set[int] = set()
    for at, operation in enumerate(loop.body):
        if _varies(arguments(operation), varying):
            varying.add(at)
    return varying


def _cycles(loop: Loop) -> list[list[int]]:
    """Return the operations in groups that depend on each other, what is needed first in front.

    Source: R. Tarjan, Depth-first search and linear graph algorithms, 1972.
    """
    needs = [
        sorted(
            {
                at
                for leaf in _leaves(operation)
                for at in (
                    [leaf.at] if isinstance(leaf, Local)
                    else _roots(loop.carried[leaf.number].next) if isinstance(leaf, Carry)
                    else []
                )
            }
        )
        for operation in loop.body
    ]  # fmt: skip
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_: list[int] = []
    groups: list[list[int]] = []

    def visit(at: int) -> None:
        order[at] = low[at] = len(order)
        open_.append(at)
        for other in needs[at]:
            if other not in order:
                visit(other)
                low[at] = min(low[at], low[other])
            elif other in open_:
                low[at] = min(low[at], order[other])
        if low[at] == order[at]:
            place = open_.index(at)
            groups.append(sorted(open_[place:]))
            del open_[place:]

    for at in range(len(loop.body)):
        if at not in order:
            visit(at)
    return groups


def _cell(program: Program, place: int, at: int, cyclic: Sequence[int]) -> Cell | None:
    """Return the cell at a place of a step, if nothing but its own state goes around."""
    loop = program.items[place]
    assert isinstance(loop, Loop)
    operation = loop.body[at]
    if operation.target not in CELLS:
        return None
    lstm = CELLS[operation.target] == "lstm"
    states = operation.args[1] if lstm else (operation.args[1],)
    after = [Item(Local(at), 0), Item(Local(at), 1)] if lstm else [Local(at)]
    numbers = [state.number for state in states if isinstance(state, Carry)]
    if len(numbers) < len(states) or set(cyclic) != set(numbers):
        return None
    if [loop.carried[number].next for number in numbers] != after:
        return None
    if not all(w is None or isinstance(w, Parameter) for w in operation.args[2:]):
        return None
    if any(Carry(number) in walk(operation.args[0]) for number in numbers):
        return None
    if lstm and _reads_cell_state(program, place, at, numbers[1]):
        return None
    return Cell(at, tuple(numbers))


def _reads_cell_state(program: Program, place: int, at: int, number: int) -> bool:
    """Say whether something reads c in every step; the operator returns the last one only."""
    loop = program.items[place]
    assert isinstance(loop, Loop)
    inside = [arguments(operation) for operation in loop.body]
    inside[at] = (*inside[at][0:1], *inside[at][2:])
    parts = [part for tree in inside for part in walk(tree)]
    parts += [
        part
        for other, carried in enumerate(loop.carried)
        if other != number
        for part in walk(carried.next)
    ]
    if Carry(number) in parts or Item(Local(at), 1) in parts:
        return True
    return any(
        _is_sequence(part, loop, place, at) for tree in _all_trees(program) for part in walk(tree)
    )


def _is_sequence(tree: Tree, loop: Loop, place: int, at: int) -> bool:
    if not isinstance(tree, Item) or tree.index != 1:
        return False
    source = tree.source
    if isinstance(source, AlongLoop):
        return (source.loop, source.at) == (place, at)
    return (
        isinstance(source, StepValue)
        and (source.loop, source.at) == (place, at)
        and not is_last(source.step, loop.count)
    )


def is_last(step: Tree, count: Tree) -> bool:
    """Say whether a step is the last one of a loop."""
    if isinstance(step, int) or isinstance(count, int):
        return isinstance(step, int) and isinstance(count, int) and step == count - 1
    return bool((step.factor, step.offset) == (count.factor, count.offset - 1))
