"""Recognise the arguments of a forward pass that hand recurrent layers their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgernn_exporters.pytorch.axes import BATCH, TIME, Dims
from edgernn_exporters.pytorch.observing import Observation
from edgernn_exporters.pytorch.probing import Probes
from edgernn_exporters.pytorch.uses import Use


@dataclass(frozen=True)
class Piece:
    """One layer's state in one call.

    Attributes:
        use: The call.
        name: Such as ``"encoder.rnn.h_l0"``.
        given: What the call started from, ``[D, B, H]``; None if it was omitted.
        last: The state after the last step, in the storage in which the layer returned it.
        first: What every call starts from, ``[D, 1, H]``, or zeros; None if that varies.
    """

    use: Use
    name: str
    given: Tensor | None
    last: Tensor
    first: Tensor | None


@dataclass(frozen=True)
class StateArgument:
    """An argument of forward that is a state, whose next value forward returns.

    Attributes:
        leaf: Its place among the tensors of the arguments.
        output: The place of its next value among the tensors that forward returns.
        states: The layers' states ``[D, B, H]`` that it is made of, by name; none if it is a state
            as it stands.
        batch_axis: Of the argument; None if it has none.
        sizes: Of its other axes.
        order: For each value in a row of the argument, its place in the row of all ``states``.
    """

    leaf: int
    output: int
    states: tuple[str, ...] = ()
    batch_axis: int | None = None
    sizes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    def join(self, states: Mapping[str, Tensor]) -> Tensor:
        """Make the argument of the layers' states."""
        return self.arrange([states[name] for name in self.states])

    def arrange(self, states: Sequence[Tensor]) -> Tensor:
        """Bring values ``[D, B, H]`` in the order of ``states`` to the argument's shape."""
        rows = torch.cat([state.transpose(0, 1).flatten(1) for state in states], dim=1)
        if self.order != tuple(range(rows.shape[1])):
            rows = rows[:, torch.tensor(self.order)]
        if self.batch_axis is None:
            return rows.reshape(self.sizes)
        return rows.reshape(-1, *self.sizes).movedim(0, self.batch_axis)


def match_arguments(probes: Probes, pieces: Sequence[Piece]) -> list[StateArgument]:
    """Find the arguments that are passed on to recurrent layers, and returned with new values.

    An argument counts if its values are, in whatever order, those that calls start from, and if
    forward returns the calls' last states in the same order.

    Args:
        probes: Runs of the module.
        pieces: States that could be carried.
    """
    found: list[StateArgument] = []
    free = [piece for piece in pieces if piece.given is not None]
    taken: set[int] = set()
    for leaf, (arg, dims) in enumerate(zip(probes.args, probes.dims, strict=True)):
        if TIME in dims or not arg.is_floating_point():
            continue
        argument = _matched(leaf, arg, dims, free)
        if argument is None:
            continue
        own = [piece for piece in free if piece.name in argument.states]
        output = _returned(argument, own, probes.base, taken)
        if output is not None:
            taken.add(output)
            found.append(replace(argument, output=output))
    return found


def _matched(leaf: int, arg: Tensor, dims: Dims, pieces: Sequence[Piece]) -> StateArgument | None:
    """Find the states whose values are those of an argument, each exactly once."""
    batch_axis = dims.index(BATCH) if BATCH in dims else None
    rows = arg.reshape(1, -1) if batch_axis is None else arg.movedim(batch_axis, 0).flatten(1)
    wanted = {value: place for place, value in enumerate(rows[0].tolist())}
    own, places = [], []
    for piece in pieces:
        assert piece.given is not None
        values = piece.given.transpose(0, 1).flatten(1)
        if len(values) != len(rows) or not set(values[0].tolist()) <= set(wanted):
            continue
        own.append(piece)
        places += [wanted[value] for value in values[0].tolist()]
    if sorted(places) != list(range(rows.shape[1])):
        return None
    order = [0] * len(places)
    for at, place in enumerate(places):
        order[place] = at
    sizes = tuple(size for axis, size in enumerate(arg.shape) if axis != batch_axis)
    argument = StateArgument(
        leaf, -1, tuple(piece.name for piece in own), batch_axis, sizes, tuple(order)
    )
    given = [piece.given for piece in own if piece.given is not None]
    return argument if torch.equal(argument.arrange(given), arg) else None


def _returned(
    argument: StateArgument, own: Sequence[Piece], run: Observation, taken: set[int]
) -> int | None:
    """Return the place of the output that is the argument's next value, if there is one."""
    last = argument.arrange([piece.last for piece in own])
    equal = [
        place
        for place, output in enumerate(run.outputs)
        if place not in taken and output.shape == last.shape and torch.equal(output, last)
    ]
    storages = {piece.last.untyped_storage().data_ptr() for piece in own}
    same = [p for p in equal if run.outputs[p].untyped_storage().data_ptr() in storages]
    return (same or equal)[-1] if equal else None
