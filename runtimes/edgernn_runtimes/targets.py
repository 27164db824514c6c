"""The table of targets. To add one: write a module with ``load`` and ``probe``, add a line."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        needs_compile: True if ``load`` takes ``compile``, which makes a C project of a model.
        options: What the module is told beside what the user says, such as which board.
    """

    module: str
    summary: str
    needs_compile: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

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


def _emulated(board: str, summary: str) -> Target:
    options = {"board": board}
    return Target("edgernn_runtimes.emulated.adapter", summary, True, options)


TARGETS = {
    "cpu": Target("edgernn_runtimes.cpu", "ONNX Runtime on this machine's processor"),
    "cuda": Target("edgernn_runtimes.cuda", "ONNX Runtime on an NVIDIA GPU"),
    "native": Target(
        "edgernn_runtimes.native", "generated C on this machine's processor", needs_compile=True
    ),
    "cortex-m4": _emulated("cortex-m4", "generated C on an emulated Arm Cortex-M4"),
    "cortex-m7": _emulated("cortex-m7", "generated C on an emulated Arm Cortex-M7"),
    "cortex-m55": _emulated("cortex-m55", "generated C on an emulated Arm Cortex-M55 with Helium"),
    "riscv32": _emulated("riscv32", "generated C on an emulated 32-bit RISC-V core"),
    "aarch64": _emulated("aarch64", "generated C on an emulated 64-bit Arm Linux board"),
    "armv7": _emulated("armv7", "generated C on an emulated 32-bit Arm Linux board"),
}


def load(path: str | os.PathLike[str], target: str = "cpu", **options: Any) -> Session:
    """Load a model file on a target.

    Args:
        path: ONNX file.
        target: A key of `TARGETS`.
        **options: Options of the adapter, such as ``threads=1``; ``compile`` for targets that
            run generated C (`edgernn.load` gives it).

    Raises:
        UsageError: There is no such target, or it has no such option.
        TargetUnavailable: The target is not on this machine.
        ModelError: The file is not a usable ONNX model.

    Example:
        >>> session = load("kw.onnx", "cpu", threads=1)
        >>> logits = session.run({"x": features})["y"]
    """
    chosen = _target(target)
    adapter = chosen.implementation()
    ours = {"path", "compile", *chosen.options}
    known = [name for name in inspect.signature(adapter.load).parameters if name not in ours]
    if unknown := sorted(set(options) - {*known, "compile"}):
        raise UsageError(
            f"target {target} has no option {', '.join(unknown)}; its options are "
            f"{', '.join(known)}"
        )
    session: Session = adapter.load(path, **chosen.options, **options)
    return session


def probe(target: str) -> Probe:
    """Say whether a target is usable on this machine, without loading a model."""
    chosen = _target(target)
    result: Probe = chosen.implementation().probe(**chosen.options)
    return result


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(f"unknown target {name!r}; the targets are {', '.join(TARGETS)}")
    return TARGETS[name]
