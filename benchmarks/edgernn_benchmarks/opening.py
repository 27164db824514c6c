"""Open a model on a target or in another engine, with what the target needs for it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgernn_runtimes
from edgernn.errors import UsageError
from edgernn.sessions import Session
from edgernn_benchmarks.peers import PREFIX, peer_module
from edgernn_runtimes.model_file import read_interface


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
        sizes: Of dynamic axes that the model has; becomes ``fixed`` where C is generated.
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


def sizes_by_model(paths: Sequence[Path], sizes: Mapping[str, int]) -> dict[Path, dict[str, int]]:
    """Give each model the sizes of those of its dynamic axes that are neither time nor batch.

    Args:
        paths: ONNX files.
        sizes: By the names of axes.

    Raises:
        UsageError: An axis is time or batch wherever there is one of the name, or there is none.
        ModelError: There are sizes, and a file is no usable model.
    """
    if not sizes:
        return {path: {} for path in paths}
    axes = {path: _dynamic_axes(path) for path in paths}
    known = sorted({name for free, _ in axes.values() for name in free})
    for name, size in sizes.items():
        if name in known:
            continue
        holders = [path.name for path, (_, taken) in axes.items() if name in taken]
        if holders:
            raise UsageError(
                f"--fix {name}={size}: {name} is a time or batch axis of {', '.join(holders)}; "
                f"scenarios give these their sizes, such as sequence:100x8; leave it out"
            )
        raise UsageError(
            f"--fix {name}={size}: no model has a dynamic axis {name}; those that are neither time "
            f"nor batch are: {', '.join(known) or 'none'}"
        )
    return {
        path: {name: size for name, size in sizes.items() if name in free}
        for path, (free, _) in axes.items()
    }


def _dynamic_axes(path: Path) -> tuple[set[str], set[str]]:
    """Return the names of a model's dynamic axes: free ones, and those that are time or batch."""
    interface = read_interface(path)
    contract = interface.contract
    places = {**contract.stream.inputs, **contract.stream.outputs} if contract else {}
    free: set[str] = set()
    taken: set[str] = set()
    for spec in (*interface.inputs, *interface.outputs):
        place = places.get(spec.name)
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str):
                timed = place is not None and axis in (place.batch, place.time)
                (taken if timed else free).add(size)
    return (free - taken) | (free & {"?"}), taken  # axes without a name are all called "?"


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
