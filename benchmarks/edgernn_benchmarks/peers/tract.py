"""Peer ``tract``: Sonos's engine, with states that stay in its own tensors between calls.

A program for each number of time steps. It uses one thread, whatever is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from edgernn.sessions import Array, Arrays
from edgernn_benchmarks.peers.engine import FLOAT, import_engine, probe_package, refused
from edgernn_benchmarks.peers.model import PeerModel, Shapes, read_peer_model
from edgernn_benchmarks.peers.session import PeerSession, States
from edgernn_runtimes import Probe

TOLERANCE = FLOAT

_TYPES = {
    "float32": "f32", "float64": "f64", "float16": "f16", "bool": "bool",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8",
}  # fmt: skip


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Load a model in tract.

    Raises:
        TargetUnavailable: tract is not installed.
        ModelError: tract cannot read the model.
    """
    model = read_peer_model(path)
    session = PeerSession(model, TractEngine(model), "peer:tract")
    session.try_one_step()
    return session


def probe() -> Probe:
    """Say whether tract is installed and which version."""
    return probe_package("tract", "tract")


class TractEngine:
    """A model in tract (see `session.Engine`)."""

    def __init__(self, model: PeerModel) -> None:
        self._model = model
        self._tract = import_engine("tract")
        self._read()

    def prepare(self, shapes: Shapes) -> TractProgram:
        """See `session.Engine`."""
        types = {s.name: _TYPES.get(s.dtype) for s in (*self._model.inputs, *self._model.states)}
        if None in types.values():
            raise refused("tract", self._model.path, f"it takes inputs of {', '.join(_TYPES)}")
        graph = self._read()
        try:
            names = [graph.input_name(index) for index in range(graph.input_count())]
            for index, name in enumerate(names):
                fact = ",".join([*map(str, shapes[name]), str(types[name])])
                graph.set_input_fact(index, fact)
            for index in range(graph.output_count()):  # they name axes that have sizes now
                graph.set_output_fact(index, None)
            runnable = graph.into_model().into_runnable()
        except self._tract.TractError as error:
            raise refused("tract", self._model.path, error) from None
        # A kept execution state is quicker, but a loop over several steps would begin with what
        # it ended with in the call before, whatever states it is given.
        steps = {
            shapes[name][axes.time]
            for name, axes in self._model.contract.stream.inputs.items()
            if axes.time is not None
        }
        run = runnable.spawn_state().run if steps == {1} else runnable.run
        return TractProgram(self._model, run, names)

    def encode(self, states: Arrays) -> States:
        """See `session.Engine`."""
        return [self._tract.Tensor.from_numpy(states[s.name]) for s in self._model.states]

    def decode(self, states: States) -> Arrays:
        """See `session.Engine`."""
        named = zip(self._model.states, states, strict=True)
        return {spec.name: tensor.to_numpy() for spec, tensor in named}

    def close(self) -> None:
        """See `session.Engine`."""

    def _read(self) -> Any:
        try:
            return self._tract.onnx().load(self._model.path)
        except self._tract.TractError as error:
            raise refused("tract", self._model.path, error) from None


class TractProgram:
    """See `session.Program`."""

    def __init__(self, model: PeerModel, run: Any, names: Sequence[str]) -> None:
        results = [value.name for value in model.proto.graph.output]
        places = [results.index(name) for name in model.output_names]
        split = len(model.outputs)
        self._run = run
        self._order = [model.input_names.index(name) for name in names]
        self._outputs, self._states = places[:split], places[split:]

    def __call__(self, values: Sequence[Array], states: States) -> tuple[list[Array], States]:
        """See `session.Program`."""
        given = [*values, *states]
        found = self._run([given[place] for place in self._order])
        outputs = [found[place].to_numpy() for place in self._outputs]
        return outputs, [found[place] for place in self._states]
