"""Find and run C compilers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from edgernn.errors import ModelError, TargetUnavailable

COMPILE_TIMEOUT_S = 900.0
_FAULT = re.compile(
    r"error: (?!ld returned)|undefined reference|overflowed by|cannot find|multiple", re.IGNORECASE
)
_FOLDERS = re.compile(r"(?<![\w.])/[^\s:]*/")  # of temporary files: they say nothing


def find_host_compiler(purpose: str) -> list[str]:
    """Return the command of a C compiler for this machine: ``$CC``, cc, gcc, clang or zig.

    Raises:
        TargetUnavailable: There is none.
    """
    if (chosen := shlex.split(os.environ.get("CC", ""))) and shutil.which(chosen[0]):
        return chosen
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise TargetUnavailable(
        f"{purpose} needs a C compiler for this machine, and there is none; install it with: "
        f"apt-get install gcc libc6-dev, or pip install 'edgernn[embedded]'"
    )


def run_compiler(command: Sequence[str], what: str) -> None:
    """Run a compiler or linker.

    Args:
        command: Program and arguments.
        what: What is being built, for the message.

    Raises:
        ModelError: It fails or takes too long.
        TargetUnavailable: It cannot be started.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=COMPILE_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"{what}: {command[0]} did not end within {COMPILE_TIMEOUT_S:.0f} s; "
            f"is the model too big for this target?"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise TargetUnavailable(
            f"{command[0]} cannot be started: {reason}; install it again"
        ) from None
    if done.returncode != 0:
        raise ModelError(
            f"{what}: {command[0]} failed with exit code {done.returncode}: "
            f"{condensed(done.stderr)}; please report this with the model"
        )


def condensed(output: str, lines: int = 3) -> str:
    """Return the first error lines of a compiler's output, joined to one line."""
    plain = _FOLDERS.sub("", output)
    said = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line for line in said if _FAULT.search(line)] or said
    text = " | ".join(errors[:lines]) or "it printed nothing"
    if len(errors) > lines:
        text += f" | and {len(errors) - lines} more"
    return text[:600]
