"""Name what goes from step to step after the cell that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from edgernn_exporters.pytorch.loops.expressions import (
    Carry,
    Local,
    Operation,
    Tree,
    walk,
)

aten = torch.ops.aten
CELLS = {
    aten.lstm_cell.default: "lstm",
    aten.gru_cell.default: "gru",
    aten.rnn_tanh_cell.default: "rnn",
    aten.rnn_relu_cell.default: "rnn",
}


def carried_names(
    body: Sequence[Operation],
    carried: Sequence[tuple[Tree, Tree, Tree]],
    states: Mapping[Tree, str],
) -> list[str]:
    """Return a name for each value that goes from step to step.

    A value that a cell takes as its state is named after the cell; any other after the module
    that it comes from.

    Args:
        body: Operations of a step.
        carried: For each value, its tree after a step, before the first, and that of the second.
        states: Names that custom cells gave to their states in the trace.
    """
    of_cells: dict[int, str] = {}
    for operation in body:
        if operation.target not in CELLS:
            continue
        state = operation.args[1]
        for letter, tree in zip(
            "hc", state if isinstance(state, tuple) else (state,), strict=False
        ):
            if isinstance(tree, Carry):
                of_cells.setdefault(tree.number, _join(operation.path, letter))
    names: list[str] = []
    for number, (after, _, second) in enumerate(carried):
        name = of_cells.get(number) or states.get(second)
        if name is None:
            paths = [body[tree.at].path for tree in walk(after) if isinstance(tree, Local)]
            name = _join(paths[0] if paths else "", "last")
        same = sum(known == name or known.startswith(f"{name}_") for known in names)
        names.append(f"{name}_{same + 1}" if same else name)
    return names


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
