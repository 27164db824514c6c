"""Find where the initial states of a module's recurrent layers come from, by running it.

A layer's initial state is omitted, zero, the same in every pass (learned), an argument of forward
whose next value forward returns, or something that the module computes from its inputs. Which of
these, the values tell that reach the layer when the arguments change
(docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.axes import Run
from edgernn_exporters.pytorch.matching import Piece, StateArgument, match_arguments
from edgernn_exporters.pytorch.observing import Call
from edgernn_exporters.pytorch.probing import Probes
from edgernn_exporters.pytorch.uses import Use

LETTERS = "hc"
_COMPUTED = (
    "starts from a state that the module computes from its inputs, or whose next value it does not "
    "return; if an argument of forward is its state, say so with states={'h': 'hn'} (--state h=hn)"
)


@dataclass(frozen=True)
class Initial:
    """Where initial states come from.

    Attributes:
        uses: The calls of recurrent layers.
        arguments: The arguments that are states.
        reasons: Why the module can run whole sequences only, whatever its states are.
        computed: Why it can by layer, unless arguments that were not found are states.
    """

    uses: tuple[Use, ...]
    arguments: tuple[StateArgument, ...]
    reasons: tuple[str, ...]
    computed: Mapping[str, str]


def find_states(probes: Probes, directions: Mapping[str, int], find: bool) -> Initial:
    """Decide for each call of a recurrent layer where its initial state comes from.

    Args:
        probes: Runs of the module.
        directions: Of each layer, by path: 2 if it is bidirectional.
        find: Look for arguments that are states.

    Raises:
        ModelError: The calls differ from length to length, or an initial state is random.
    """
    _require_equal_calls(probes)
    _require_equal_states(probes)
    _require_equal_outputs(probes)
    pieces: list[Piece] = []
    reasons: list[str] = []
    unknown: dict[str, str] = {}
    uses: list[tuple[Use, bool]] = []
    numbers: dict[str, int] = {}
    for index, call in enumerate(probes.base.calls):
        number = numbers[call.path] = numbers.get(call.path, 0) + 1
        use = Use(call.path, number)
        steps, reason = _steps(probes, index)
        if steps and directions[call.path] == 2:
            reasons.append(f"layer {call.path!r} is bidirectional and looks at later inputs")
        if reason is not None:
            reasons.append(reason)
        uses.append((use, steps and reason is None))
        own = _pieces(use, probes.calls(index), directions[call.path])
        if steps and reason is None:
            pieces += own
        elif not steps and probes.time is not None and any(p.first is None for p in own):
            unknown[call.path] = f"layer {call.path!r} {_COMPUTED}"
    arguments = match_arguments(probes, pieces) if find else []
    passed = {name for argument in arguments for name in argument.states}
    found = []
    for use, steps in uses:
        own = [piece for piece in pieces if piece.use == use]
        computed = [p.name for p in own if p.first is None and p.name not in passed]
        if computed and probes.time is not None:
            unknown[use.path] = f"layer {use.path!r} {_COMPUTED}"
        first = {p.name: p.first for p in own if p.first is not None and p.first.any()}
        carried = steps and not computed
        if probes.time is None:  # one step: without an argument it starts from zeros each time
            carried = carried and {piece.name for piece in own} <= passed
        found.append(Use(use.path, use.number, carried, first if carried else {}))
    return Initial(tuple(found), tuple(arguments), tuple(dict.fromkeys(reasons)), unknown)


def from_inputs(probes: Probes, run: Run, states: Collection[int]) -> set[str]:
    """Return the layers whose initial states change with arguments that are no states.

    Args:
        probes: Runs of the module.
        run: Runs it once more.
        states: Places of the arguments that are states.
    """
    pairs = enumerate(zip(probes.args, probes.others, strict=True))
    changed = run([kept if place in states else other for place, (kept, other) in pairs])
    return {
        one.path
        for one, other in zip(probes.base.calls, changed.calls, strict=True)
        if not all(map(torch.equal, one.first or (), other.first or ()))
    }


def _require_equal_calls(probes: Probes) -> None:
    base = [call.path for call in probes.base.calls]
    for run in (probes.values, probes.batch, probes.time):
        paths = base if run is None else [call.path for call in run.calls]
        for path in dict.fromkeys([*base, *paths]):
            if base.count(path) != paths.count(path):
                raise ModelError(
                    f"layer {path!r} is called {base.count(path)} times in one forward pass and "
                    f"{paths.count(path)} times in another, as in a Python loop over time steps; "
                    f"call it once on the whole sequence, or use a cell (nn.GRUCell) in the loop"
                )


def _require_equal_states(probes: Probes) -> None:
    for one, other in zip(probes.base.calls, probes.again.calls, strict=True):
        pairs = zip(one.first or (), other.first or (), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            raise ModelError(
                f"layer {one.path!r} starts from other values in each pass although the inputs "
                f"are the same; start from zeros or from a parameter in evaluation mode, or let "
                f"forward take the state and return the next one instead of keeping it"
            )


def _require_equal_outputs(probes: Probes) -> None:
    pairs = zip(probes.base.outputs, probes.again.outputs, strict=True)
    if not all(a.shape == b.shape and torch.allclose(a, b, 1e-3, 1e-3, True) for a, b in pairs):
        raise ModelError(
            "forward returns other values in each pass although the inputs are the same: dropout "
            "that is on in evaluation mode (give it training=self.training), random numbers, or a "
            "state that the module keeps to itself; let forward take such a state and return the "
            "next one, and leave the rest out in evaluation mode"
        )


def _steps(probes: Probes, index: int) -> tuple[bool, str | None]:
    """Say whether a call advances with the model's time, and why its state cannot be carried."""
    base = probes.base.calls[index]
    if probes.time is None:
        return base.time == 1, None
    longer = probes.time.calls[index]
    if longer.time == base.time:  # over frequencies, or over an input of another length
        return False, None
    if longer.batch != base.batch or (base.batch or 1) != (probes.rows or 1):
        return True, (
            f"layer {base.path!r} gets {base.batch} rows for {probes.rows or 1} sequences, so it "
            f"has no state for each sequence"
        )
    return True, None


def _pieces(use: Use, calls: Sequence[Call], directions: int) -> list[Piece]:
    """Take the states of one call apart by letter and stacked layer."""
    found = []
    base = calls[0]
    for place, letter in enumerate(LETTERS[: len(base.last)]):
        lasts = torch.split(base.last[place], directions)
        for layer, last in enumerate(lasts):
            rows = slice(layer * directions, (layer + 1) * directions)
            values = [None if c.first is None else c.first[place][rows] for c in calls]
            found.append(
                Piece(use, f"{use.prefix}{letter}_l{layer}", values[0], last, _constant(values))
            )
    return found


def _constant(values: Sequence[Tensor | None]) -> Tensor | None:
    """Return ``[D, 1, H]`` if a state starts from it in every run and row; None if it varies."""
    given = [value for value in values if value is not None]
    if not given:
        return torch.zeros(1)
    one = given[0][:, :1]
    same = all(torch.equal(value, one.expand_as(value)) for value in given)
    return one if same and len(given) == len(values) else None
