"""Measure how long `edgernn demo` takes, each time in an empty temporary folder.

python benchmarks/scripts/demo_time.py --json benchmarks/results/demo_time.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgernn.files import check_writable, write_text
from edgernn_benchmarks import environment

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "demo_time.json")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: the demo's")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    check_writable(arguments.json)
    command = [sys.executable, "-m", "edgernn", "demo"]
    if arguments.epochs is not None:
        command += ["--epochs", str(arguments.epochs)]
    surroundings = {**environment.capture(), "before": environment.conditions()}
    seconds: list[float] = []
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            seconds.append(round(time.perf_counter() - started, 2))
        print(f"edgernn demo {seconds[-1]:.1f} s", flush=True)
    if len(seconds) > 1:
        print(f"median {statistics.median(seconds):.1f} s")
    value = {
        "seconds": seconds,
        "epochs": arguments.epochs,
        "environment": {**surroundings, "after": environment.conditions()},
    }
    write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
