"""Find the compilers and emulators of the boards."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec

from edgernn.errors import TargetUnavailable
from edgernn_runtimes.emulated.boards import Board
from edgernn_runtimes.targets import Probe

_PYELFTOOLS = "pip install 'edgernn[embedded]'"


@dataclass(frozen=True)
class Toolchain:
    """Hold the programs that serve one board.

    Attributes:
        compiler: Path of the C compiler.
        compiler_version: Its version line.
        emulator: Path of the QEMU program.
    """

    compiler: str
    compiler_version: str
    emulator: str


def find(board: Board) -> Toolchain | Probe:
    """Find what a board needs, or say what is missing and how to install it."""
    install = f"apt-get install {' '.join(board.packages)}"
    found = {name: shutil.which(name) for name in (board.emulator, board.compiler)}
    emulator, compiler = found.values()
    if emulator is None or compiler is None:
        lacking = " and ".join(name for name, path in found.items() if path is None)
        return Probe(False, f"{lacking} not found", install)
    library = "libc.a" if board.memory is None else "picolibc.specs"
    if "/" not in _say(compiler, f"-print-file-name={library}"):
        return Probe(False, f"{board.compiler} has no C library ({library})", install)
    if find_spec("elftools") is None:
        return Probe(False, "package pyelftools is missing", _PYELFTOOLS)
    if not emulator_version(emulator):
        return Probe(False, f"{emulator} does not start", install)
    return Toolchain(compiler, _say(compiler, "--version").split("\n")[0].strip(), emulator)


def emulator_version(emulator: str) -> str:
    """Return the version of a QEMU program, such as ``"7.2.22"``; empty if it does not start."""
    found = re.search(r"version (\d+(?:\.\d+)*)", _say(emulator, "--version"))
    return found.group(1) if found else ""


def probe_board(board: Board) -> Probe:
    """Say whether programs for a board can be built and run here."""
    tools = find(board)
    if isinstance(tools, Probe):
        return tools
    version = emulator_version(tools.emulator)
    return Probe(True, f"QEMU {version} {board.machine}, {tools.compiler_version}")


def require(board: Board) -> Toolchain:
    """Find what a board needs.

    Raises:
        TargetUnavailable: Something is missing; says how to install it.
    """
    tools = find(board)
    if isinstance(tools, Probe):
        raise TargetUnavailable(
            f"target {board.name}: {tools.detail}; install it with: {tools.remedy}"
        )
    return tools


@functools.lru_cache(maxsize=64)
def _say(program: str, argument: str) -> str:
    """Return what a program prints; empty if it cannot be started."""
    try:
        done = subprocess.run(
            [program, argument], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
