"""Bring next states to the memory that the next step, or the next call, reads them from."""

from __future__ import annotations

from collections.abc import Sequence

from edgernn_exporters.codegen.loops import materialize
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.values import Buffer, Constant, Lazy, Tensor


def store_states(lowering: Lowering, nexts: Sequence[tuple[str, Tensor]]) -> None:
    """Compute next states, all of them from the old ones, and store them.

    Args:
        lowering: Where to.
        nexts: Name of each next state, and the memory that holds the old one.
    """
    members = {target.buffer for _, target in nexts}
    pending: list[tuple[Tensor | Lazy, Tensor]] = []
    for name, target in nexts:
        waiting = lowering.value(name)
        if isinstance(waiting, Lazy) and _may_wait(waiting, target, members):
            pending.append((waiting, target))
            continue
        value = lowering.tensor(name)
        if value.buffer is target.buffer:
            continue
        if value.buffer in members:  # another state's memory, which may be overwritten first
            copy = lowering.scratch(name, value.shape, value.dtype)
            lowering.copy(value, copy)
            value = copy
        pending.append((value, target))
    for result, target in pending:
        if isinstance(result, Lazy):
            materialize(lowering, result, target)
        else:
            lowering.copy(result, target)


def _may_wait(value: Lazy, target: Tensor, members: set[Buffer]) -> bool:
    """Tell whether an expression can be computed into its state when all others are known.

    It reads no other state, and its own only at the element that it computes.
    """
    return all(
        isinstance(operand, Constant) or operand == target or operand.buffer not in members
        for operand in value.operands
    )
