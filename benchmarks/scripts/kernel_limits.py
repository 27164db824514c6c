"""Compare the kernels of the generated C with what this machine can do at most.

For one layer of an LSTM or GRU: both matrix products of one step against a plain loop that reads
as many bytes with the same vectors; the input product of 100 steps against fused multiply-adds
that stay in registers; and the time of the gates and of a whole step. One thread, all jobs of a
layer in turns, weights hot in whichever cache holds them.

    python benchmarks/scripts/kernel_limits.py --json benchmarks/results/kernel_limits.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

SOURCE = Path(__file__).with_name("kernel_limits.c")
KERNELS = Path(__file__).parents[2] / "exporters" / "edgernn_exporters" / "codegen" / "kernels"
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra")
INSTRUCTION_SETS = {
    "native": ("-march=native",),
    "avx2": ("-mavx2", "-mfma"),
    "portable": ("-march=native", "-DEDGERNN_PORTABLE"),
}
STEPS = 100  # as in the C program


def measure(compiler: str, flags: tuple[str, ...], rounds: int, turn_ns: int) -> list[list[str]]:
    """Build and run the C program; return the words of its lines."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "kernel_limits"
        build = [compiler, *FLAGS, *flags, f"-I{KERNELS}", str(SOURCE), "-o", str(program)]
        subprocess.run(build, check=True)
        command = [str(program), str(rounds), str(turn_ns)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line.split() for line in done.stdout.splitlines()]


def layers(lines: list[list[str]]) -> list[dict[str, Any]]:
    """Collect the samples of each layer and derive its ratios from medians."""
    rows: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for *layer, job, ns in lines:
        rows.setdefault(tuple(layer), {}).setdefault(job, []).append(float(ns))
    return [describe(*layer, samples) for layer, samples in rows.items()]  # type: ignore[arg-type]


def describe(cell: str, i: str, h: str, samples: dict[str, list[float]]) -> dict[str, Any]:
    """Return one row of the results."""
    inputs, hidden = int(i), int(h)
    outputs = {"lstm": 4, "gru": 3}[cell] * hidden
    weights = outputs * (inputs + hidden)
    operations = 2 * STEPS * outputs * inputs
    ns = {job: statistics.median(times) for job, times in samples.items()}
    return {
        "cell": cell,
        "input": inputs,
        "hidden": hidden,
        "f32_bytes": 4 * weights,
        "f32_gb_per_s": 4 * weights / ns["products_f32"],
        "f32_of_read_loop": ns["read_f32"] / ns["products_f32"],
        "i8_bytes": weights,
        "i8_gb_per_s": weights / ns["products_i8"],
        "i8_of_read_loop": ns["read_i8"] / ns["products_i8"],
        "f32_100_gflops": operations / ns["many_f32"],
        "f32_100_of_peak": ns["peak_f32"] / ns["many_f32"],
        "i8_100_gops": operations / ns["many_i8"],
        "gates_ns": ns["gates"],
        "f32_step_ns": ns["step_f32"],
        "i8_step_ns": ns["step_i8"],
        "samples_ns": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compiler", default="cc")
    parser.add_argument("--isa", choices=INSTRUCTION_SETS, default="native")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--turn-ns", type=int, default=200_000, help="least time of a turn")
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    flags = INSTRUCTION_SETS[arguments.isa]
    lines = measure(arguments.compiler, flags, arguments.rounds, arguments.turn_ns)
    rows = layers(lines)
    print(
        f"{arguments.compiler}, {arguments.isa}, one thread, medians of {arguments.rounds}. Left "
        f"to right: weights of one step read, {STEPS} steps of the input product, times."
    )
    print(
        "| layer | f32 GB/s | of read | i8 GB/s | of read | f32 GFLOP/s | of peak | i8 GOP/s "
        "| gates ns | f32 step ns | i8 step ns |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['cell']} {row['input']},{row['hidden']} "
            f"| {row['f32_gb_per_s']:.0f} | {row['f32_of_read_loop']:.2f} "
            f"| {row['i8_gb_per_s']:.0f} | {row['i8_of_read_loop']:.2f} "
            f"| {row['f32_100_gflops']:.0f} | {row['f32_100_of_peak']:.2f} "
            f"| {row['i8_100_gops']:.0f} | {row['gates_ns']:.0f} "
            f"| {row['f32_step_ns']:.0f} | {row['i8_step_ns']:.0f} |"
        )
    if arguments.json:
        environment = capture()
        environment["compiler"] = compiler_version(arguments.compiler)
        value = {"isa": arguments.isa, "rows": rows, "environment": environment}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


def compiler_version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0]


if __name__ == "__main__":
    main()
