"""Seconds and memory of commands that run in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# From a small process, because a child's largest size begins with that of its parent.
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: Wall time.
        peak_bytes: Largest resident size of any process of the command.
    """

    seconds: float
    peak_bytes: int

    def row(self, base: Cost, file: Path) -> dict[str, Any]:
        """Return the cost as JSON, its memory also above that of a base, in sizes of a file."""
        size = file.stat().st_size
        return {
            "file_bytes": size,
            "seconds": round(self.seconds, 2),
            "peak_bytes": self.peak_bytes,
            "base_bytes": base.peak_bytes,
            "times_the_file": round((self.peak_bytes - base.peak_bytes) / size, 2),
        }


def cost_of(arguments: Sequence[object]) -> Cost:
    """Run ``edgernn`` with these arguments, on Linux.

    Raises:
        CalledProcessError: The command failed.
    """
    command = [sys.executable, "-m", "edgernn", *map(str, arguments)]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], stdout=subprocess.PIPE, check=True
    )
    return Cost(time.monotonic() - started, int(done.stdout) * 1024)


def in_words(row: dict[str, Any]) -> str:
    """Say what `Cost.row` returned."""
    return (
        f"{row['seconds']:>6.1f} s  {row['peak_bytes'] / 1e6:>6.0f} MB, {row['times_the_file']:.2f}"
        f" times the file above {row['base_bytes'] / 1e6:.0f} MB"
    )
