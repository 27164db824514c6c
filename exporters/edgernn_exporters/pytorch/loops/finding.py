"""Find the loops in a trace at one length: operations that repeat with it, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.loops.expressions import (
    AlongLoop,
    AlongValues,
    Carried,
    Loop,
    Operation,
    Program,
    Run,
    StepValue,
    Tree,
    Value,
    is_tensor,
    key_of,
    rebuilt,
    walk,
    with_trees,
)
from edgernn_exporters.pytorch.loops.matching import IrregularError, Steps
from edgernn_exporters.pytorch.loops.naming import carried_names
from edgernn_exporters.pytorch.loops.reading import Reading

_SHORTEST = 3  # elements of a list that are written as a run


@dataclass(frozen=True)
class _Found:
    steps: Steps
    body: tuple[tuple[Tree, ...], ...]


def repeated(reading: Reading, other: Reading) -> list[bool]:
    """Say for each operation whether a longer sequence has more of its kind."""
    counts, others = (Counter(map(key_of, r.operations)) for r in (reading, other))
    return [counts[key] != others[key] for key in map(key_of, reading.operations)]


def find_loops(
    reading: Reading, repeats: Sequence[bool], length: int
) -> tuple[Program, list[Complaint]]:
    """Return the program of a trace, its steps over time rolled into loops.

    Args:
        reading: The trace.
        repeats: For each operation, whether longer sequences have more of it.
        length: Time steps of the trace.

    Returns:
        The program, and why operations that repeat are in no loop: they matter if the programs for
        other lengths have more of them.
    """
    search = _Search(reading.operations, length)
    found: list[_Found] = []
    start = 0
    while start < len(repeats):
        end = start
        while end < len(repeats) and repeats[end]:
            end += 1
        found += search.between(start, end)
        start = end + 1
    return _Folding(reading, found).program(), search.complaints


@dataclass(frozen=True)
class Complaint:
    """Say why operations that repeat are in no loop.

    Attributes:
        path: Module path of one of them.
        reason: What differs from step to step.
    """

    path: str
    reason: str


class _Search:
    def __init__(self, operations: Sequence[Operation], length: int) -> None:
        self._operations = operations
        self._keys = [key_of(operation) for operation in operations]
        self._length = length
        self.complaints: list[Complaint] = []

    def between(self, start: int, end: int) -> list[_Found]:
        """Find the loops that make up the operations from one place to another."""
        reasons: list[tuple[int, str]] = []
        for count in (self._length, self._length - 1, self._length + 1):
            for first in range(start, end):
                for size in range(1, (end - first) // count + 1):
                    keys = self._keys[first : first + size * count]
                    if keys != keys[:size] * count:
                        continue
                    steps = Steps(first, size, count)
                    try:
                        found = _Found(steps, steps.body(self._operations))
                    except IrregularError as error:
                        reasons.append((size, str(error)))
                        continue
                    before = self.between(start, first)
                    return [*before, found, *self.between(steps.end, end)]
        if end > start:
            reason = max(reasons)[1] if reasons else "its operations differ from step to step"
            paths = (operation.path for operation in self._operations[start:end])
            self.complaints.append(Complaint(next((p for p in paths if p), ""), reason))
        return []


class _Folding:
    """Replace the operations of loops by loops, and places by the places that follow from that."""

    def __init__(self, reading: Reading, found: Sequence[_Found]) -> None:
        self._reading = reading
        self._loops = {item.steps.first: item for item in found}
        self._places: dict[int, Tree] = {}
        self._inside: dict[int, tuple[int, int, int]] = {}  # place: loop, place in step, step

    def program(self) -> Program:
        items: list[Operation | Loop] = []
        operations = self._reading.operations
        place = 0
        while place < len(operations):
            if (found := self._loops.get(place)) is None:
                items.append(with_trees(operations[place], self._outside))
                self._places[place] = Value(len(items) - 1)
                place += 1
                continue
            items.append(self._loop(found))
            steps = found.steps
            for at in range(steps.size * steps.count):
                step, local = divmod(at, steps.size)
                self._inside[place + at] = (len(items) - 1, local, step)
                self._places[place + at] = StepValue(len(items) - 1, local, step)
            place = steps.end
        return Program(tuple(items), tuple(self._outside(t) for t in self._reading.outputs))

    def _loop(self, found: _Found) -> Loop:
        steps = found.steps
        body = tuple(
            replace(
                operation,
                args=self._outside(args[: len(operation.args)]),
                kwargs=tuple(
                    (name, self._outside(value))
                    for (name, _), value in zip(
                        operation.kwargs, args[len(operation.args) :], strict=True
                    )
                ),
            )
            for operation, args in zip(
                self._reading.operations[steps.first : steps.first + steps.size],
                found.body,
                strict=True,
            )
        )
        names = carried_names(body, steps.carried, self._reading.states)
        carried = tuple(
            Carried(self._outside(init), self._outside(after), name, self._reading.specs[second])
            for name, (after, init, second) in zip(names, steps.carried, strict=True)
        )
        return Loop(steps.count, body, carried)

    def _outside(self, tree: Tree) -> Tree:
        if isinstance(tree, Value):
            return self._places[tree.at]
        if isinstance(tree, AlongValues):
            return self._along(tree)
        if isinstance(tree, tuple):
            tree = self._runs(tree)
        return rebuilt(tree, self._outside)

    def _along(self, tree: AlongValues) -> Tree:
        along = self._along_loop(tree)
        if along is None:
            raise ModelError(
                "a Python loop over time uses results of several operations outside of it, one in "
                "each step; stack them into a tensor first"
            )
        return along

    def _along_loop(self, tree: AlongValues) -> AlongLoop | None:
        first, second, last = (
            self._inside.get(tree.start + tree.stride * t) for t in (0, 1, tree.count - 1)
        )
        if first is None or second is None or last is None:
            return None
        if not first[:2] == second[:2] == last[:2]:
            return None
        return AlongLoop(*first, second[2] - first[2])

    def _runs(self, items: tuple[Tree, ...]) -> tuple[Tree, ...]:
        """Write elements of a list that follow a sequence or a loop as one run."""
        result: list[Tree] = []
        start = 0
        while start < len(items):
            end, element = start + 1, items[start]
            for stop in range(start + _SHORTEST, len(items) + 1):
                if (run := self._run(items[start:stop])) is None:
                    break
                end, element = stop, Run(run, stop - start)
            result.append(element)
            start = end
        return tuple(result)

    def _run(self, items: Sequence[Tree]) -> Tree | None:
        if not all(is_tensor(item) for item in items) or items[0] == items[1]:
            return None
        try:
            run = Steps(-1, 1, 0).unify(items)
        except IrregularError:
            return None
        values = [tree for tree in walk(run) if isinstance(tree, AlongValues)]
        return None if any(self._along_loop(value) is None for value in values) else run
