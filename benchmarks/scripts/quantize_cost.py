"""Time and memory of quantizing a model of ten million weights, calibration included.

A GRU of two layers of 1024 units with 352 inputs, random weights, and 20 random sequences of 500
steps. Each command runs in a process of its own; its memory is the largest resident size, less that
of a process that quantizes a model of a few weights in the same way.

    python benchmarks/scripts/quantize_cost.py --json benchmarks/results/quantize_cost.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgernn
from edgernn.files import check_writable, write_text
from edgernn_benchmarks.child_cost import Cost, cost_of, in_words
from edgernn_benchmarks.environment import capture

PRECISIONS = ("fp16", "int8-dynamic", "int8", "w8a16", "int4")
CALIBRATED = ("int8", "w8a16", "int4")


def make(folder: Path, inputs: int, hidden: int) -> Path:
    """Write a model and its calibration data; return the model's path."""
    folder.mkdir()
    module = nn.GRU(inputs, hidden, num_layers=2, batch_first=True)
    edgernn.export(module, (torch.zeros(1, 20, inputs),), folder / "model.onnx", gate=False)
    x = np.random.default_rng(0).standard_normal((20, 500, inputs), np.float32)
    np.savez(folder / "data.npz", input=x)
    return folder / "model.onnx"


def quantize(model: Path, precision: str) -> Cost:
    """Quantize in a process of its own."""
    model.with_name("model.onnx.calibration.json").unlink(missing_ok=True)
    command = ["quantize", model, "--precision", precision, "-o", model.with_name("small.onnx")]
    if precision in CALIBRATED:
        command += ["--calibration", model.with_name("data.npz")]
    return cost_of(command)


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
        for precision in PRECISIONS:
            cost = quantize(large, precision).row(quantize(small, precision), large)
            rows.append({"precision": precision, **cost})
            print(f"{precision:<13} {in_words(cost)}")
    if arguments.json:
        value = {"rows": rows, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
