"""Open a model on a target or in another engine, with what the target needs for it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

import edgernn_runtimes
from edgernn.errors import UsageError
from edgernn.sessions import Session
from edgernn_benchmarks.peers import PREFIX, peer_module


def open_session(path: str | os.PathLike[str], target: str, **options: Any) -> Session:
    """Load a model on a target, or in the engine that ``peer:NAME`` names.

    Targets that run generated C are given the generator, because runtimes do not import exporters.

    Args:
        path: ONNX file.
        target: Key of `edgernn_runtimes.TARGETS`, or ``peer:`` and a key of `peers.PEERS`.
        **options: Of the target.

    Raises:
        UsageError: There is no such target, peer or option.
        TargetUnavailable: The target or engine is not on this machine.
        ModelError: It cannot run the model.

    Example:
        >>> session = open_session("kw.onnx", "peer:openvino", threads=1)
    """
    if is_peer(target):
        session: Session = peer_module(target).load(path, **options)
        return session
    known = edgernn_runtimes.TARGETS.get(target)
    if known is not None and known.needs_compile:
        from edgernn_exporters.codegen import compile as compile_project

        options = {**options, "compile": compile_project}
    return edgernn_runtimes.load(path, target, **options)


def is_peer(target: str) -> bool:
    """Say whether a target's name is that of another engine."""
    return target.startswith(PREFIX)


def load_options(
    target: str, threads: int | None, sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the load options of a target or peer that it takes.

    Args:
        target: Its name.
        threads: Becomes ``threads``; None for none.
        sizes: Of dynamic axes; becomes ``fixed`` where C is generated.
    """
    given: dict[str, Any] = {} if threads is None else {"threads": threads}
    if is_peer(target):
        return given
    if target not in edgernn_runtimes.TARGETS:
        return {}
    known = edgernn_runtimes.TARGETS[target]
    taken = inspect.signature(known.implementation().load).parameters
    given = {name: value for name, value in given.items() if name in taken}
    return {**given, "fixed": dict(sizes)} if known.needs_compile and sizes else given


def check_targets(targets: Iterable[str]) -> None:
    """Check the names of targets and peers.

    Raises:
        UsageError: One is not known; names those that are.
    """
    for target in targets:
        if is_peer(target):
            peer_module(target)
        elif target not in edgernn_runtimes.TARGETS:
            known = ", ".join(edgernn_runtimes.TARGETS)
            raise UsageError(f"unknown target {target!r}; the targets are {known}")
