"""Target ``cpu``: ONNX Runtime on this machine's processor."""

from __future__ import annotations

import os

from edgernn_runtimes.onnxruntime_loader import import_onnxruntime, open_session
from edgernn_runtimes.onnxruntime_session import OnnxRuntimeSession
from edgernn_runtimes.targets import Probe

INSTALL = "pip install 'edgernn[cpu]'"


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> OnnxRuntimeSession:
    """Load a model on the processor.

    Args:
        path: ONNX file.
        threads: Threads within one operator; None leaves the choice to ONNX Runtime. One thread
            is fastest for single steps of small networks.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: The file is not a usable ONNX model.
    """
    session = open_session(path, ["CPUExecutionProvider"], threads=threads, install=INSTALL)
    return OnnxRuntimeSession(session, target="cpu", path=path)


def probe() -> Probe:
    """Say whether onnxruntime is installed and which version."""
    ort, reason = import_onnxruntime()
    if ort is None:
        return Probe(False, reason, INSTALL)
    return Probe(True, f"onnxruntime {ort.__version__}, {os.cpu_count()} cores")
