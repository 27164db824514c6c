"""Peer ``openvino``: OpenVINO on the processor, states as inputs and outputs, in bound memory.

The hint for latency, float32 arithmetic as in the model (some processors would get bfloat16), and
a program for each number of time steps.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from edgernn.errors import ModelError
from edgernn.sessions import Array
from edgernn_benchmarks.peers.engine import FLOAT, import_engine, probe_package, refused
from edgernn_benchmarks.peers.model import PeerModel, Shapes, read_peer_model
from edgernn_benchmarks.peers.session import ArrayStates, BoundProgram, PeerSession
from edgernn_runtimes import Probe

TOLERANCE = FLOAT

# Where in its own source OpenVINO was, which begins each line of a message.
_PLACES = re.compile(r"Exception from [^\s]+:\s*|Check '[^\n]*' failed at [^\s]+:\d+:\s*")


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Load a model in OpenVINO.

    Raises:
        TargetUnavailable: openvino is not installed.
        ModelError: OpenVINO cannot read the model.
    """
    model = read_peer_model(path)
    return PeerSession(model, OpenVinoEngine(model, threads), "peer:openvino")


def probe() -> Probe:
    """Say whether openvino is installed and which version."""
    return probe_package("openvino", "openvino")


class OpenVinoEngine(ArrayStates):
    """A model in OpenVINO (see `session.Engine`)."""

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        super().__init__(model)
        self._openvino = import_engine("openvino")
        self._core = self._openvino.Core()
        self._settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._core.read_model(str(model.path))
        except RuntimeError as error:
            raise _refused(model, error) from None

    def prepare(self, shapes: Shapes) -> BoundProgram:
        """See `session.Engine`."""
        model = self.model
        try:
            graph = self._core.read_model(str(model.path))
            graph.reshape({name: list(shape) for name, shape in shapes.items()})
            program = self._core.compile_model(graph, "CPU", self._settings)
        except RuntimeError as error:
            raise _refused(model, error) from None
        ports = {port.any_name: port for port in program.inputs}
        results = {port.any_name: port for port in program.outputs}
        inputs = {spec.name: _memory(ports[spec.name]) for spec in model.inputs}
        outputs = {spec.name: _memory(results[spec.name]) for spec in model.outputs}
        states = [[_memory(ports[spec.name]) for spec in model.states] for _ in range(2)]

        def request(source: list[Array], target: list[Array]) -> Any:
            made = program.create_infer_request()
            for state, old, new in zip(model.contract.states, source, target, strict=True):
                made.set_tensor(ports[state.input], self._tensor(old))
                made.set_tensor(results[state.output], self._tensor(new))
            for name, array in inputs.items():
                made.set_tensor(ports[name], self._tensor(array))
            for name, array in outputs.items():
                made.set_tensor(results[name], self._tensor(array))
            return made.infer

        return BoundProgram(
            list(inputs.values()),
            list(outputs.values()),
            (states[0], states[1]),
            (request(states[0], states[1]), request(states[1], states[0])),
        )

    def _tensor(self, array: Array) -> Any:
        return self._openvino.Tensor(array, shared_memory=True)


def _refused(model: PeerModel, error: RuntimeError) -> ModelError:
    return refused("OpenVINO", model.path, _PLACES.sub("", str(error)))


def _memory(port: Any) -> Array:
    return np.zeros(list(port.shape), port.element_type.to_dtype())
