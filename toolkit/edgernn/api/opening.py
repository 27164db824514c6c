"""Open models for the verbs."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from edgernn.sessions import Session

PathLike = str | os.PathLike[str]


def load(path: PathLike, target: str = "cpu", **options: Any) -> Session:
    """Load a model on a target (see `edgernn_runtimes.load`).

    Example:
        >>> stream = edgernn.load("kw.onnx", "cpu", threads=1).stream()
    """
    from edgernn_runtimes import TARGETS
    from edgernn_runtimes import load as run_load

    if target in TARGETS and TARGETS[target].needs_compile:
        from edgernn_exporters.codegen import compile as generate

        options["compile"] = generate
    return run_load(path, target, **options)


def opened(model: PathLike | Session, target: str, **options: Any) -> Session:
    """Load a file; a session is returned as it is."""
    if isinstance(model, str | os.PathLike):
        return load(model, target, **options)
    return model


def one_thread() -> Any:
    """Return what opens a file on one thread of the processor, as gates and proofs do."""
    from edgernn_runtimes import load as run_load

    return partial(run_load, target="cpu", threads=1)
