"""Put steps together that are one layer's: same weights, each from the state of the one before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgernn_exporters.onnx_import.editing import reads
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise_affine import Values
from edgernn_exporters.onnx_import.recognise_cells import Cell, cells
from edgernn_exporters.onnx_import.recognise_heads import with_heads


def chains(values: Values, notes: Notes) -> list[list[Cell]]:
    """Return the steps that fit a recurrent node, those of one layer together and in order.

    Steps that share a state, hand it to a step with other weights, or need for their input what a
    later step of the same node computes, are no sequence and left out with a note.
    """
    found = [cell for cell in cells(values) if _same_batch(values, cell)]
    lines = with_heads(values, list(_lines(values, found, notes)))
    return _acyclic(values, lines, notes)


def _lines(values: Values, found: list[Cell], notes: Notes) -> Iterator[list[Cell]]:
    starts: dict[str, list[Cell]] = {}
    ends: dict[str, Cell] = {}
    for cell in found:
        for state in _given(values, cell):
            starts.setdefault(state, []).append(cell)
        for state in {cell.next_h, cell.next_c} - {""}:
            ends[state] = cell
    seen: set[int] = set()
    for cell in found:
        if id(cell) in seen:
            continue
        group, pending = [], [cell]
        while pending:
            one = pending.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            group.append(one)
            for state in _given(values, one):
                pending += [*starts[state], *([ends[state]] if state in ends else [])]
            for state in {one.next_h, one.next_c} - {""}:
                pending += starts.get(state, [])
        line = _in_order(group)
        if line is None:
            notes.add(
                f"{group[0].next_h!r} and what it shares a state with are {len(group)} steps of "
                f"{group[0].op_type}s, but no sequence of one layer, so their operators stay."
            )
        else:
            yield line


def _given(values: Values, cell: Cell) -> list[str]:
    """Return the states before a step that are no constants, which layers may share."""
    return [state for state in (cell.h, cell.c) if state and values.varies(state)]


def _in_order(group: list[Cell]) -> list[Cell] | None:
    """Return steps that share states as one line, or None if they are none."""
    after = {(cell.h, cell.c): cell for cell in group}
    made = {(cell.next_h, cell.next_c) for cell in group}
    heads = [cell for cell in group if (cell.h, cell.c) not in made]
    if len(after) != len(group) or len(heads) != 1:
        return None
    line = heads
    while (following := after.get((line[-1].next_h, line[-1].next_c))) is not None:
        if not _same_weights(line[-1], following):
            return None
        line.append(following)
    return line if len(line) == len(group) else None


def _same_batch(values: Values, cell: Cell) -> bool:
    """Tell whether no operand is spread over the batch, which a recurrent node does not do."""
    states = [cell.h, *([cell.c] if cell.c else [])]
    shapes = [values.shapes.get(name, []) for name in (*cell.x, *states)]
    if any(len(shape) != 2 for shape in shapes):
        return False
    rows = {shape[0] for shape in shapes}
    widths = {shape[1] for shape in shapes[len(cell.x) :]}
    return len(rows) == 1 and rows.isdisjoint({"", 0}) and widths == {cell.hidden}


def _same_weights(one: Cell, other: Cell) -> bool:
    return (
        (one.op_type, one.linear_before_reset, one.hard, len(one.x))
        == (other.op_type, other.linear_before_reset, other.hard, len(other.x))
        and np.array_equal(one.w, other.w)
        and np.array_equal(one.r, other.r)
        and np.array_equal(one.b, other.b)
    )


def _acyclic(values: Values, lines: list[list[Cell]], notes: Notes) -> list[list[Cell]]:
    """Return the lines that can be nodes: no input waits for what the node itself computes."""
    while True:
        owner = {
            state: at
            for at, line in enumerate(lines)
            for cell in line
            for state in (cell.next_h, cell.next_c)
            if state
        }
        waits = {at: _waits(values, line, owner) for at, line in enumerate(lines)}
        stuck = [at for at in waits if _reaches(waits, at)]
        if not stuck:
            return lines
        for at in stuck:
            notes.add(
                f"the steps of the {lines[at][0].op_type} up to {lines[at][-1].next_h!r} need "
                f"each other's outputs as inputs, so they stay unrolled."
            )
        lines = [line for at, line in enumerate(lines) if at not in stuck]


def _waits(values: Values, line: list[Cell], owner: dict[str, int]) -> set[int]:
    """Return the lines whose outputs the inputs and first states of a line depend on."""
    found: set[int] = set()
    pending = [name for cell in line for name in cell.x]
    pending += [state for state in (line[0].h, line[0].c) if state]
    seen = set(pending)
    while pending:
        name = pending.pop()
        if name in owner:
            found.add(owner[name])
            continue
        node = values.producers.get(name)
        new = set(reads(node)) - seen if node is not None else set()
        seen |= new
        pending.extend(new)
    return found


def _reaches(waits: dict[int, set[int]], start: int) -> bool:
    """Tell whether a line waits for itself."""
    seen: set[int] = set()
    pending = list(waits[start])
    while pending:
        at = pending.pop()
        if at == start:
            return True
        if at not in seen:
            seen.add(at)
            pending.extend(waits[at])
    return False
