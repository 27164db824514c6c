"""The table of targets. To add one: write a module with ``load`` and ``probe``, add a line."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from edgernn.errors import UsageError
from edgernn.sessions import Session


@dataclass(frozen=True)
class Target:
    """Name a place where models run.

    Attributes:
        module: Module with ``load(path, **options) -> Session`` and ``probe() -> Probe``.
        summary: One line for ``edgernn doctor``.
    """

    module: str
    summary: str

    def implementation(self) -> ModuleType:
        """Import the adapter."""
        return import_module(self.module)


@dataclass(frozen=True)
class Probe:
    """Say whether a target or tool is usable here.

    Attributes:
        available: True if it can be used now.
        detail: Version and device if available, else the reason it is not.
        remedy: Command that makes it available; empty if it is.
    """

    available: bool
    detail: str
    remedy: str = ""


TARGETS = {
    "cpu": Target("edgernn_runtimes.cpu", "ONNX Runtime on this machine's processor"),
    "cuda": Target("edgernn_runtimes.cuda", "ONNX Runtime on an NVIDIA GPU"),
}


def load(path: str | os.PathLike[str], target: str = "cpu", **options: Any) -> Session:
    """Load a model file on a target.

    Args:
        path: ONNX file.
        target: A key of `TARGETS`.
        **options: Options of the adapter, such as ``threads=1``.

    Raises:
        UsageError: There is no such target, or it has no such option.
        TargetUnavailable: The target is not on this machine.
        ModelError: The file is not a usable ONNX model.

    Example:
        >>> session = load("kw.onnx", "cpu", threads=1)
        >>> logits = session.run({"x": features})["y"]
    """
    adapter = _target(target).implementation()
    known = [name for name in inspect.signature(adapter.load).parameters if name != "path"]
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(
            f"target {target} has no option {', '.join(unknown)}; its options are "
            f"{', '.join(known)}"
        )
    session: Session = adapter.load(path, **options)
    return session


def probe(target: str) -> Probe:
    """Say whether a target is usable on this machine, without loading a model."""
    result: Probe = _target(target).implementation().probe()
    return result


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(f"unknown target {name!r}; the targets are {', '.join(TARGETS)}")
    return TARGETS[name]
