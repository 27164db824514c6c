"""Run any ONNX file as the function that it is, without looking at its metadata."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from edgernn.errors import ModelError
from edgernn.sessions import Arrays
from edgernn_runtimes.cpu import INSTALL
from edgernn_runtimes.onnxruntime_loader import (
    import_onnxruntime,
    open_session,
    runtime_failure,
)


def open_plain(
    path: str | os.PathLike[str], *, threads: int | None = None, seconds: float | None = None
) -> Callable[[Arrays], Arrays]:
    """Open a file in ONNX Runtime on the processor.

    States are inputs and outputs like all others.

    Args:
        path: ONNX file; a foreign one has to be checked before.
        threads: See `edgernn_runtimes.cpu.load`.
        seconds: How long one run may take, for files whose loops may have no end; behind one that
            takes longer there are no more. None for as long as it takes.

    Returns:
        A function from all inputs to all outputs, by name. It raises `ModelError` where ONNX
        Runtime refuses the inputs or takes too long.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: ONNX Runtime cannot load the file.

    Example:
        >>> open_plain("model.onnx")({"x": x})["y"]
    """
    session = open_session(path, ["CPUExecutionProvider"], threads=threads, install=INSTALL)
    ort, _ = import_onnxruntime()
    names = [node.name for node in session.get_outputs()]

    late = threading.Event()

    def run(inputs: Arrays) -> Arrays:
        if late.is_set():
            raise _late(path, seconds)
        options = ort.RunOptions()

        def end() -> None:
            late.set()
            options.terminate = True

        timer = None if seconds is None else threading.Timer(seconds, end)
        if timer is not None:
            timer.start()
        try:
            values = session.run(names, inputs, options)
        except Exception as error:
            if late.is_set():
                raise _late(path, seconds) from None
            raise runtime_failure(Path(path), error) from None
        finally:
            if timer is not None:
                timer.cancel()
        return dict(zip(names, values, strict=True))

    return run


def _late(path: str | os.PathLike[str], seconds: float | None) -> ModelError:
    return ModelError(f"{path}: one run takes more than {seconds} s; a loop in it may have no end")
