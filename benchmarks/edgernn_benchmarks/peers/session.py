"""`Session` and `Stream` of `edgernn.sessions` on top of another engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from edgernn.contract import TensorSpec
from edgernn.errors import InputError, UsageError
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, check_tensor
from edgernn_benchmarks.peers.model import PeerModel, Shapes

States = Any
"""The states of one stream in the engine's own form, in the contract's order."""


class Program(Protocol):
    """A model made ready for inputs of fixed shapes."""

    def __call__(self, values: Sequence[Array], states: States) -> tuple[list[Array], States]:
        """Run the inputs; return the outputs and the next states."""
        ...


class Engine(Protocol):
    """A model loaded in an engine."""

    def prepare(self, shapes: Shapes) -> Program:
        """Make a program for inputs and states of these shapes; only one stream uses it."""
        ...

    def encode(self, states: Arrays) -> States:
        """Bring states into the engine's form."""
        ...

    def decode(self, states: States) -> Arrays:
        """Return copies of states as arrays."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class ArrayStates:
    """The part of an `Engine` that keeps its states in numpy arrays."""

    def __init__(self, model: PeerModel) -> None:
        self.model = model

    def encode(self, states: Arrays) -> States:
        """See `Engine.encode`."""
        return [states[spec.name] for spec in self.model.states]

    def decode(self, states: States) -> Arrays:
        """See `Engine.decode`."""
        return {s.name: a.copy() for s, a in zip(self.model.states, states, strict=True)}

    def close(self) -> None:
        """See `Engine.close`."""


class BoundProgram:
    """A `Program` in fixed memory.

    There are two sets of states; a call reads one and writes the other, so that nothing is copied
    between calls.
    """

    def __init__(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        states: tuple[Sequence[Array], Sequence[Array]],
        calls: tuple[Callable[[], object], Callable[[], object]],
    ) -> None:
        self._inputs, self._outputs, self._states, self._calls = inputs, outputs, states, calls
        self._turn = 0

    def __call__(self, values: Sequence[Array], states: States) -> tuple[list[Array], States]:
        """See `Program.__call__`."""
        turn = self._turn
        if states is not self._states[turn]:  # after a reset, or from a program of other shapes
            for own, given in zip(self._states[turn], states, strict=True):
                own[...] = given
        for buffer, value in zip(self._inputs, values, strict=True):
            buffer[...] = value
        self._calls[turn]()
        self._turn = turn ^ 1
        return [output.copy() for output in self._outputs], self._states[turn ^ 1]


class PeerSession:
    """A model loaded in another engine (see `edgernn.sessions.Session`)."""

    def __init__(self, model: PeerModel, engine: Engine, target: str) -> None:
        self.target = target
        self.metadata: Metadata = model.interface.metadata
        self.inputs: tuple[TensorSpec, ...] = model.inputs
        self.outputs: tuple[TensorSpec, ...] = model.outputs
        self.states: tuple[TensorSpec, ...] = model.states
        self.model = model
        self._engine: Engine | None = engine
        self._programs: dict[tuple[tuple[int, ...], ...], Program] = {}
        self._lock = Lock()

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            UsageError: The session was closed.
        """
        if self._engine is None:
            raise UsageError(f"{self.model.path}: this session was closed; load the model again")
        return self._engine

    def try_one_step(self) -> None:
        """Make a program for one step, so that a model which cannot be run fails at once.

        Raises:
            ModelError: The engine cannot run it.
        """
        shapes = self.model.step_shapes()
        if shapes is not None:
            self.engine.prepare(shapes)

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run whole sequences from the initial state (see `edgernn.sessions.Session.run`)."""
        engine = self.engine
        initial = self.model.interface.initial_state(self.model.interface.check(inputs))
        values = [inputs[spec.name] for spec in self.inputs]
        with self._lock:
            key = tuple(value.shape for value in values)
            if key not in self._programs:
                self._programs[key] = engine.prepare(shapes_of(inputs, initial))
            outputs, _ = self._programs[key](values, engine.encode(initial))
        return {spec.name: y for spec, y in zip(self.outputs, outputs, strict=True)}

    def stream(self, batch: int = 1) -> PeerStream:
        """Open a stream (see `edgernn.sessions.Session.stream`)."""
        self.model.interface.require_stream(batch)
        return PeerStream(self, batch)

    def close(self) -> None:
        """Free what the engine holds."""
        if self._engine is not None:
            self._programs.clear()
            self._engine.close()
            self._engine = None


class PeerStream:
    """One live batch of sequences (see `edgernn.sessions.Stream`)."""

    def __init__(self, owner: PeerSession, batch: int) -> None:
        self._owner = owner
        self._initial = owner.model.interface.initial_state(batch)
        self._batch = batch
        self._programs: dict[tuple[tuple[int, ...], ...], Program] = {}
        self._names = [spec.name for spec in owner.inputs]
        self._arrays = len(owner.inputs) == 1 and len(owner.outputs) == 1
        self._states: States = owner.engine.encode(self._initial)

    def step(self, x: Array | Mapping[str, Array]) -> Any:
        """Advance by the time steps in ``x``.

        Shapes are checked when they are seen first, and values never: the engines do not either.
        """
        if self._arrays and isinstance(x, np.ndarray):
            program = self._programs.get((x.shape,)) or self._prepare([x])
            outputs, self._states = program([x], self._states)
            return outputs[0]
        if not isinstance(x, Mapping):
            raise InputError(f"give a dict of arrays by the names {self._names}")
        values = [x[name] for name in self._names]
        program = self._programs.get(tuple([v.shape for v in values])) or self._prepare(values)
        outputs, self._states = program(values, self._states)
        return {s.name: y for s, y in zip(self._owner.outputs, outputs, strict=True)}

    def reset(self) -> None:
        """Return to the initial state."""
        self._states = self._owner.engine.encode(self._initial)

    @property
    def state(self) -> Arrays:
        """A copy of the state by input name; assign one to restore it."""
        return self._owner.engine.decode(self._states)

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None:
        if set(value) != set(self._initial):
            raise InputError(f"the states are {sorted(self._initial)}, got {list(value)}")
        for spec in self._owner.states:
            check_tensor(spec, value[spec.name])
        self._states = self._owner.engine.encode(
            {name: np.array(array) for name, array in value.items()}
        )

    def _prepare(self, values: Sequence[Array]) -> Program:
        given = dict(zip(self._names, values, strict=True))
        rows = self._owner.model.interface.check(given)
        if rows != self._batch:
            raise InputError(f"this stream was opened for a batch of {self._batch}, not {rows}")
        program = self._owner.engine.prepare(shapes_of(given, self._initial))
        self._programs[tuple(value.shape for value in values)] = program
        return program


def shapes_of(*groups: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of arrays by name."""
    return {name: value.shape for group in groups for name, value in group.items()}
