#!/usr/bin/env python3
"""Measure the activations of the generated C on every float there is.

    python scripts/activation_error.py [FUNCTION ...]

Builds `scripts/activation_error.c` and compares all 2^32 floats with double libm, on all cores
(some minutes). For each function the table says: the largest absolute error and where it is; the
largest error in units in the last place (of the float nearest to the exact value) and where; the
smallest and largest finite result; and how many inputs give NaN or infinity where the exact
function, rounded to float, does not, or the reverse.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "scripts" / "activation_error.c"
KERNELS = ROOT / "exporters" / "edgernn_exporters" / "codegen" / "kernels"
FUNCTIONS = ("tanh", "sigmoid", "exp", "log", "sqrt", "erf", "softplus")
PARTS = 64  # of the 2^32 floats, so that cores finish together


@dataclass(frozen=True)
class Errors:
    """Hold what the program found in one range or all."""

    worst: float
    worst_at: float
    units: float
    units_at: float
    low: float
    high: float
    differs: int


def build(folder: Path, compiler: str) -> Path:
    """Compile the program with the flags of the generated projects."""
    program = folder / "activation_error"
    flags = ["-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-Wall", "-Wextra"]
    command = [compiler, *flags, f"-I{KERNELS}", str(SOURCE), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    return program


def measure(program: Path, function: str, first: int, count: int) -> Errors:
    """Run the program on the floats with bits ``first`` to ``first + count - 1``."""
    command = [str(program), function, str(first), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    worst, worst_at, units, units_at, low, high, differs = done.stdout.split()
    return Errors(
        float(worst), _float(worst_at), float(units), _float(units_at),
        float(low), float(high), int(differs),
    )  # fmt: skip


def combine(parts: list[Errors]) -> Errors:
    """Return the errors over all ranges."""
    worst = max(parts, key=lambda part: part.worst)
    units = max(parts, key=lambda part: part.units)
    return Errors(
        worst.worst, worst.worst_at, units.units, units.units_at,
        min(part.low for part in parts), max(part.high for part in parts),
        sum(part.differs for part in parts),
    )  # fmt: skip


def _float(bits: str) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", int(bits)))[0]
    return value


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("function", nargs="*", metavar="FUNCTION", help=", ".join(FUNCTIONS))
    parser.add_argument("--compiler", default="cc")
    arguments = parser.parse_args()
    if unknown := set(arguments.function) - set(FUNCTIONS):
        parser.error(f"no function {', '.join(sorted(unknown))}; there are {', '.join(FUNCTIONS)}")
    print("| function | abs. error | at | ulp | at | smallest | largest | NaN or inf differs |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        program = build(Path(folder), arguments.compiler)
        size = 2**32 // PARTS
        for function in arguments.function or FUNCTIONS:
            runs = [pool.submit(measure, program, function, i * size, size) for i in range(PARTS)]
            found = combine([run.result() for run in runs])
            print(
                f"| {function} | {found.worst:.3g} | {found.worst_at:.9g} | {found.units:.3g} "
                f"| {found.units_at:.9g} | {found.low:.9g} | {found.high:.9g} | {found.differs} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
