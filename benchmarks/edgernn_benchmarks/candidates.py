"""One model on one target: what is asked of it, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgernn.comparison import compare_outputs
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Arrays, Emulated, Measurement, Session
from edgernn_benchmarks.inputs import (
    make_calls,
    make_inputs,
    run_whole,
    split_steps,
    without_time,
)
from edgernn_benchmarks.measure import Job, explain
from edgernn_benchmarks.models import ModelFile
from edgernn_benchmarks.numeric import NumericError
from edgernn_benchmarks.opening import is_peer
from edgernn_benchmarks.peers import peer_module
from edgernn_benchmarks.report_format import number
from edgernn_benchmarks.scenarios import Scenario

_STREAM_CALLS, _RUN_CALLS = 256, 4
_MAX_INPUT_STEPS = 100_000


@dataclass
class Candidate:
    """One model on one target.

    Attributes:
        model: The file.
        target: Name of the target, or ``peer:`` and the name of an engine.
        session: Once it is loaded.
        error: Why it could not be.
        numeric: Its distance from the reference.
        wrong: Whether its outputs are wrong (see `check_peer`).
        metrics: Of the task.
        notes: What a reader must know.
    """

    model: ModelFile
    target: str
    session: Session | None = None
    error: str | None = None
    numeric: NumericError | None = None
    wrong: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def emulated(self) -> bool:
        """Whether it is counted instead of timed."""
        return isinstance(self.session, Emulated)

    @property
    def peer(self) -> bool:
        """Whether it is another engine."""
        return is_peer(self.target)

    def attempt(self, what: str, action: Callable[[], None]) -> None:
        """Do something whose failure costs only its own number, and becomes a note."""
        try:
            action()
        except Exception as error:  # a fault of one target must not lose the others' results
            self.notes.append(f"no {what}: {explain(error)}")


def job_for(session: Session, scenario: Scenario, *, seed: int, **what: Any) -> Job:
    """Make the job that calls a session as the scenario says, on varying inputs.

    Args:
        session: The loaded model.
        scenario: How it is called.
        seed: Of random inputs.
        **what: ``given`` and ``sizes`` of `make_inputs`.

    Raises:
        InputError: The scenario has several time steps, and the model no time axis; or as
            `make_inputs`.
        ContractError: As `make_inputs`, or the scenario streams, and the model cannot.
    """
    _check_steps(session, scenario)
    steps, batch = scenario.steps, scenario.batch
    if not scenario.streams:
        runs = [
            make_inputs(session, steps, batch, seed=seed + index, **what)
            for index in range(_RUN_CALLS if what.get("given") is None else 1)
        ]
        return Job(str(scenario), session.run, runs)
    stream = session.stream(batch)
    calls = max(1, min(_STREAM_CALLS, _MAX_INPUT_STEPS // (steps * batch)))
    pieces: list[Any] = make_calls(session, steps * calls, batch, seed=seed, **what)
    if not without_time(session):
        pieces = split_steps(session, pieces[0], steps)
    if len(session.inputs) == 1 and len(session.outputs) == 1:
        pieces = [next(iter(piece.values())) for piece in pieces]
    return Job(str(scenario), stream.step, pieces, reset=stream.reset)


def count(session: Session, scenario: Scenario) -> Measurement:
    """Have an emulated session count what a call of the scenario takes.

    Raises:
        InputError: The scenario has a batch; an emulated core serves one stream. Or it has several
            time steps, and the model no time axis.
        ContractError: The scenario streams, and the model cannot.
    """
    assert isinstance(session, Emulated)
    _check_steps(session, scenario)
    if scenario.batch != 1:
        raise InputError(
            f"an emulated core serves one stream, and scenario {scenario} has {scenario.batch}; "
            f"measure it without xB"
        )
    contract = session.metadata.contract
    if scenario.streams and contract is not None and not contract.stream.causal:
        raise ContractError(
            "the model is not causal (it looks at later inputs), so it has no step form; "
            "measure a sequence:N"
        )
    return session.measure(scenario.steps)


def _check_steps(session: Session, scenario: Scenario) -> None:
    if scenario.steps > 1 and without_time(session):
        raise InputError(
            f"the model has no time axis: a call is one time step, which would pass for the "
            f"{scenario.steps} of scenario {scenario}; measure it with scenario step"
        )


def check_peer(candidate: Candidate, calls: Sequence[Arrays], expected: Arrays) -> None:
    """Compare a peer's outputs with those of the same model on ``cpu``, and mark wrong ones.

    Args:
        candidate: The peer.
        calls: A whole sequence, as `inputs.make_calls` makes it.
        expected: What ``cpu`` returns for it.
    """
    assert candidate.session is not None
    if not all(np.isfinite(value).all() for value in expected.values()):
        candidate.notes.append("outputs not checked: target cpu returns NaN or infinity")
        return
    try:
        found = compare_outputs(expected, run_whole(candidate.session, calls))
    except InputError as error:  # other outputs, or of other shapes
        candidate.wrong = True
        candidate.notes.append(f"wrong outputs: {explain(error)}")
        return
    for name, item in found.outputs.items():
        allowed = peer_module(candidate.target).TOLERANCE.allowed(item.max_abs_reference)
        if not item.max_abs_error <= allowed:
            off = number(item.max_abs_error) if np.isfinite(item.max_abs_error) else "not finite"
            candidate.wrong = True
            candidate.notes.append(
                f"wrong outputs: {name} is off by {off}, where {number(allowed)} is allowed"
            )
