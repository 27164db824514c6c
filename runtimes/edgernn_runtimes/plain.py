"""Run any ONNX file as the function that it is, without looking at its metadata."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgernn.sessions import Arrays
from edgernn_runtimes.cpu import INSTALL
from edgernn_runtimes.onnxruntime_loader import open_session, runtime_failure


def open_plain(
    path: str | os.PathLike[str], *, threads: int | None = None
) -> Callable[[Arrays], Arrays]:
    """Open a file in ONNX Runtime on the processor.

    States are inputs and outputs like all others.

    Args:
        path: ONNX file; a foreign one has to be checked before.
        threads: See `edgernn_runtimes.cpu.load`.

    Returns:
        A function from all inputs to all outputs, by name. It raises `ModelError` where ONNX
        Runtime refuses the inputs.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: ONNX Runtime cannot load the file.

    Example:
        >>> open_plain("model.onnx")({"x": x})["y"]
    """
    session = open_session(path, ["CPUExecutionProvider"], threads=threads, install=INSTALL)
    names = [node.name for node in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        try:
            values = session.run(names, inputs)
        except Exception as error:
            raise runtime_failure(Path(path), error) from None
        return dict(zip(names, values, strict=True))

    return run
