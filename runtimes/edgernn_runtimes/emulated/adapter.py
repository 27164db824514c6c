"""The targets of `edgernn_runtimes.emulated.boards`: load a model on one, or look for its tools."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgernn.c_project import Compile
from edgernn.errors import UsageError
from edgernn_runtimes.emulated.boards import BOARDS
from edgernn_runtimes.emulated.build import Program, build
from edgernn_runtimes.emulated.session import EmulatedSession
from edgernn_runtimes.emulated.toolchain import probe_board, require
from edgernn_runtimes.model_file import read_interface
from edgernn_runtimes.targets import Probe


def load(
    path: str | os.PathLike[str],
    *,
    board: str,
    compile: Compile,
    timeout_s: float = 60.0,
    isa: str | None = None,
    chunk: int | None = None,
    fixed: Mapping[str, int] | None = None,
) -> EmulatedSession:
    """Compile a model, build its program and start it on an emulated board.

    Args:
        path: ONNX file.
        board: A key of `BOARDS`.
        compile: Makes the C project; the composition root gives it.
        timeout_s: Longest time to wait for one answer of the program, for models of a few
            thousand multiply-accumulates; bigger ones get more by their size.
        isa: ``"portable"`` for plain C; None for the kernels of the board's core.
        chunk: Time steps that are processed at once; None for the generator's choice.
        fixed: Sizes of dynamic axes that are neither batch nor time, by name.

    Raises:
        UsageError: An option is out of range.
        TargetUnavailable: A compiler or emulator is missing.
        ModelError: The file is not a usable model, does not fit the board, or its program fails.

    Example:
        >>> session = edgernn.load("kw.onnx", target="cortex-m4")
        >>> session.measure(steps=20).instructions_per_step
        41250.0
    """
    if isa not in (None, "portable"):
        raise UsageError(f"isa must be 'portable' or left out, got {isa!r}")
    if not timeout_s > 0:
        raise UsageError(f"timeout_s must be above 0, got {timeout_s}")
    chosen = BOARDS[board]
    tools = require(chosen)
    interface = read_interface(path).with_sizes(fixed or {})

    def make(max_steps: int | None) -> Program:
        given = {"max_steps": max_steps, "chunk": chunk, "fixed": fixed or None}
        options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        with tempfile.TemporaryDirectory(prefix="edgernn-") as work:
            folder = Path(work) / "project"
            project = compile(path, folder, target=board, **options)
            return build(
                folder, project, chosen, tools, where=str(path), portable=isa == "portable"
            )

    return EmulatedSession(interface, make, tools.emulator, timeout_s=timeout_s)


def probe(board: str) -> Probe:
    """Say whether programs for a board can be built and run here."""
    return probe_board(BOARDS[board])
