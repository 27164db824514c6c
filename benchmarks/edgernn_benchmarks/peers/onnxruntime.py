"""Peer ``onnxruntime``: ``InferenceSession.run`` in a loop that feeds the states back.

What most users write. The target ``cpu`` runs the same engine with bound memory, and checks its
inputs besides.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgernn.sessions import Array
from edgernn_benchmarks.peers.engine import FLOAT, import_engine, probe_package, refused
from edgernn_benchmarks.peers.model import PeerModel, Shapes, read_peer_model
from edgernn_benchmarks.peers.session import ArrayStates, PeerSession, States
from edgernn_runtimes import Probe

INSTALL = "pip install 'edgernn[cpu]'"
TOLERANCE = FLOAT


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Load a model in ONNX Runtime.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: ONNX Runtime cannot run the model.
    """
    model = read_peer_model(path)
    return PeerSession(model, open_engine(model, model.path, threads), "peer:onnxruntime")


def probe() -> Probe:
    """Say whether onnxruntime is installed and which version."""
    return probe_package("onnxruntime", "onnxruntime", install=INSTALL)


def open_engine(model: PeerModel, file: Path, threads: int | None) -> OnnxRuntimeEngine:
    """Open a file with the tensors of ``model``: its own, or what was made from it."""
    ort = import_engine("onnxruntime", install=INSTALL)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise refused("ONNX Runtime", model.path, error) from None
    return OnnxRuntimeEngine(model, session)


class OnnxRuntimeEngine(ArrayStates):
    """A model in ONNX Runtime (see `session.Engine`)."""

    def __init__(self, model: PeerModel, session: Any) -> None:
        super().__init__(model)
        self._run = session.run
        self._inputs, self._outputs = model.input_names, model.output_names
        self._split = len(model.outputs)

    def prepare(self, shapes: Shapes) -> OnnxRuntimeEngine:
        """See `session.Engine`; one session takes all shapes."""
        return self

    def __call__(self, values: Sequence[Array], states: States) -> tuple[list[Array], States]:
        """See `session.Program`."""
        feeds = dict(zip(self._inputs, [*values, *states], strict=True))
        found = self._run(self._outputs, feeds)
        return found[: self._split], found[self._split :]
