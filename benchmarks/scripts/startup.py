"""Measure how long `edgernn --help` takes, in turns with an empty Python program.

python benchmarks/scripts/startup.py --json benchmarks/results/startup.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "edgernn --help": [sys.executable, "-m", "edgernn", "--help"],
    "import edgernn_runtimes": [sys.executable, "-c", "import edgernn_runtimes"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    samples: dict[str, list[int]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.runs):
        for name, command in COMMANDS.items():
            started = time.perf_counter_ns()
            subprocess.run(command, check=True, capture_output=True)
            samples[name].append(time.perf_counter_ns() - started)
    for name, values in samples.items():
        print(f"{name:<24} median {statistics.median(values) / 1e6:6.1f} ms, "
              f"largest {max(values) / 1e6:6.1f} ms")  # fmt: skip
    if arguments.json:
        value = {"samples_ns": samples, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
