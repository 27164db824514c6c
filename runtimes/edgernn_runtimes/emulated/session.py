"""`Session` and `Stream` of a model on an emulated board.

The program keeps nothing between two requests, so streams cannot disturb each other, a refused or
crashed step leaves the state as it was, and one emulator serves all streams and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np

from edgernn.errors import InputError, UsageError
from edgernn.sessions import Array, Arrays, check_tensor
from edgernn_runtimes.emulated.build import Program
from edgernn_runtimes.emulated.image import Footprint
from edgernn_runtimes.emulated.layout import make_layout
from edgernn_runtimes.emulated.machine import RUN, STEP
from edgernn_runtimes.emulated.measure import Measurement, measure
from edgernn_runtimes.emulated.runner_config import has_step
from edgernn_runtimes.emulated.served import Served
from edgernn_runtimes.model_file import Interface

Make = Callable[[int | None], Program]
"""Builds the program for a longest sequence; None for a causal model."""

_LEAST_STEPS = 64  # of a model that is not causal; longer ones are built when they are needed


class EmulatedSession:
    """A model on an emulated board (see `edgernn.sessions.Session`).

    Args:
        interface: Of the model file.
        make: Builds its program.
        emulator: QEMU program.
        timeout_s: Time limit of one request, beside what its size needs.
    """

    def __init__(
        self, interface: Interface, make: Make, emulator: str, *, timeout_s: float
    ) -> None:
        self._interface, self._make = interface, make
        self._emulator, self._timeout_s = emulator, timeout_s
        self._served: dict[int | None, Served] = {}
        self._lock = Lock()
        self._closed = False
        self.path = interface.path
        self.metadata = interface.metadata
        self.inputs = interface.inputs
        self.outputs = interface.outputs
        self.states = interface.states
        contract = interface.contract
        causal = contract is None or contract.stream.causal
        self.served = self._open(None if causal else _LEAST_STEPS)
        self.target = self.served.program.board.name
        try:
            _ = self.served.first_state  # starts the emulator, so that what is wrong shows here
        except BaseException:
            self.close()
            raise

    @property
    def footprint(self) -> Footprint:
        """Flash and RAM that the model and the whole program take."""
        return self.served.program.footprint

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run whole sequences from the initial state (see `edgernn.sessions.Session.run`)."""
        batch, served = self.fitting(inputs)
        rows = [served.advance(inputs, row, served.first_state, RUN)[1] for row in range(batch)]
        return served.joined(rows)

    def stream(self, batch: int = 1) -> EmulatedStream:
        """Open a stream (see `edgernn.sessions.Session.stream`)."""
        self._require_open()
        contract = self._interface.require_stream(batch)
        for spec in self.inputs:
            axis = contract.stream.inputs[spec.name].batch
            if axis is not None and spec.shape[axis] != batch and isinstance(spec.shape[axis], int):
                raise InputError(
                    f"{self.path}: the model has a fixed batch of {spec.shape[axis]}; open a "
                    f"stream of that batch"
                )
        return EmulatedStream(self, batch)

    def measure(
        self, steps: int = 20, inputs: Mapping[str, Array] | None = None, *, call: str | None = None
    ) -> Measurement:
        """Count instructions and stack (see `edgernn_runtimes.emulated.measure.measure`)."""
        return measure(self, steps, inputs, call=call)

    def close(self) -> None:
        """Stop the emulator; no run, stream or step after this."""
        self._closed = True
        for served in list(self._served.values()):
            served.machine.close()

    def fitting(self, inputs: Mapping[str, Array]) -> tuple[int, Served]:
        """Check inputs; return the rows that are to be run and what runs them.

        Raises:
            UsageError: The session was closed.
            InputError: The inputs do not fit the model.
        """
        self._require_open()
        self._interface.check(inputs)
        served = self.served
        steps, limit = served.layout.steps_of(inputs), served.project.max_steps
        if limit is not None and steps != limit:
            if served.project.fixed_steps:
                served = self._open(steps)
            elif steps > limit:
                served = self._open(1 << (steps - 1).bit_length())
        limit, exact = served.project.max_steps, served.project.fixed_steps
        if limit is not None and (steps > limit or (exact and steps != limit)):
            raise InputError(
                f"{self.path}: the model takes {'exactly' if exact else 'at most'} {limit} time "
                f"steps, but the inputs have {steps}; give other sequences"
            )
        return served.layout.rows_of(inputs), served

    def _open(self, max_steps: int | None) -> Served:
        with self._lock:
            self._require_open()
            if max_steps not in self._served:
                program = self._make(max_steps)
                layout = make_layout(self._interface, program.project)
                self._served[max_steps] = Served.start(
                    program, layout, self._emulator, self._timeout_s, str(self.path)
                )
            return self._served[max_steps]

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.path}: this session was closed; load the model again")


class EmulatedStream:
    """One live batch of sequences (see `edgernn.sessions.Stream`)."""

    def __init__(self, owner: EmulatedSession, batch: int) -> None:
        self._owner = owner
        self._served = owner.served
        self._batch = batch
        rows = batch if self._served.project.batch == 1 else 1
        self._rows = [self._served.first_state] * rows

    def step(self, x: Array | Mapping[str, Array]) -> Any:
        """Advance by the time steps in ``x`` (see `edgernn.sessions.Stream.step`)."""
        owner = self._owner
        if isinstance(x, np.ndarray) and len(owner.inputs) == 1 and len(owner.outputs) == 1:
            return self._advance({owner.inputs[0].name: x})[owner.outputs[0].name]
        if not isinstance(x, Mapping):
            raise InputError(
                f"the model takes inputs {[spec.name for spec in owner.inputs]}: give a dict of "
                f"numpy arrays, not {type(x).__name__}"
            )
        return self._advance(x)

    def reset(self) -> None:
        """Return to the initial state."""
        self._rows = [self._served.reset(row) for row in self._rows]

    @property
    def state(self) -> Arrays:
        """A copy of the state by input name; assign one to restore it."""
        return self._served.layout.read_states(self._rows)

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None:
        specs = self._owner.states
        if not isinstance(value, Mapping) or set(value) != {spec.name for spec in specs}:
            given = list(value) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(f"the states are {[spec.name for spec in specs]}, got {given}")
        now = self.state
        for spec in specs:
            check_tensor(spec, value[spec.name])
            want, shape = now[spec.name].shape, value[spec.name].shape
            if shape != want:
                raise InputError(
                    f"state {spec.name} of this stream has shape {list(want)}, got {list(shape)}"
                )
        self._rows = self._served.layout.write_states(self._rows, value)

    def _advance(self, inputs: Mapping[str, Array]) -> Arrays:
        count, served = self._owner.fitting(inputs)
        if count != len(self._rows):
            raise InputError(
                f"this stream was opened for a batch of {self._batch}, but {count} rows were "
                f"given; open another with session.stream(batch={count})"
            )
        one = has_step(served.project) and served.layout.steps_of(inputs) == 1
        done = [
            served.advance(inputs, row, state, STEP if one else RUN)
            for row, state in enumerate(self._rows)
        ]
        outputs = served.joined([outputs for _, outputs in done])
        self._keep([state for state, _ in done])
        return outputs

    def _keep(self, rows: list[bytes]) -> None:
        """Take over new states, unless huge inputs made one NaN or infinite."""
        for name, value in self._served.layout.read_states(rows).items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InputError(
                    f"the inputs are so large that state {name} overflows; the stream keeps its "
                    f"state from before, so scale the inputs down and go on"
                )
        self._rows = rows
