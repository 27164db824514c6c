"""Time and memory of quantizing a model of ten million weights, calibration included.

A GRU of two layers of 1024 units with 352 inputs, random weights, and 20 random sequences of 500
steps. Each command runs in a process of its own; its memory is the largest resident size, less that
of a process that quantizes a model of a few weights in the same way.

    python benchmarks/scripts/quantize_cost.py --json benchmarks/results/quantize_cost.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgernn
from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

PRECISIONS = ("fp16", "int8-dynamic", "int8", "w8a16", "int4")
CALIBRATED = ("int8", "w8a16", "int4")
# From a small process, because a child's largest size begins with that of its parent.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def make(folder: Path, inputs: int, hidden: int) -> Path:
    """Write a model and its calibration data; return the model's path."""
    folder.mkdir()
    module = nn.GRU(inputs, hidden, num_layers=2, batch_first=True)
    edgernn.export(module, (torch.zeros(1, 20, inputs),), folder / "model.onnx", gate=False)
    x = np.random.default_rng(0).standard_normal((20, 500, inputs), np.float32)
    np.savez(folder / "data.npz", input=x)
    return folder / "model.onnx"


def quantize(model: Path, precision: str) -> tuple[float, int]:
    """Quantize in a process of its own; return its seconds and its largest resident bytes."""
    model.with_name("model.onnx.calibration.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "edgernn", "quantize", model, "--precision", precision,
               "-o", model.with_name("small.onnx")]  # fmt: skip
    if precision in CALIBRATED:
        command += ["--calibration", model.with_name("data.npz")]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, command)], stdout=subprocess.PIPE, check=True
    )
    return time.monotonic() - started, int(done.stdout) * 1024


def main() -> None:
    """Print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inputs", type=int, default=352)
    parser.add_argument("--hidden", type=int, default=1024)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        small = make(Path(name) / "little", 4, 4)
        large = make(Path(name) / "large", arguments.inputs, arguments.hidden)
        size = large.stat().st_size
        for precision in PRECISIONS:
            _, base = quantize(small, precision)
            seconds, peak = quantize(large, precision)
            rows.append({"precision": precision, "file_bytes": size, "seconds": round(seconds, 2),
                         "peak_bytes": peak, "base_bytes": base,
                         "times_the_file": round((peak - base) / size, 2)})  # fmt: skip
            print(
                f"{precision:<13} {seconds:>6.1f} s  {peak / 1e6:>6.0f} MB, "
                f"{rows[-1]['times_the_file']:.2f} times the file above {base / 1e6:.0f} MB"
            )
    if arguments.json:
        value = {"rows": rows, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
