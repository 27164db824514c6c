"""Time and memory of exporting models of ten million weights, the gate included.

Random weights: a GRU and an LSTM of two layers, and an LSTM with a projection, which is written as
a `Scan`. Each export runs in a process of its own; its memory is the largest resident size, less
that of a process that exports a model of a few weights. Where other programs disturb the clock, the
time that the process had of all cores, divided by their number, is the lower bound.

    python benchmarks/scripts/export_cost.py --json benchmarks/results/export_cost.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

# Inputs, units, projection
MODELS = {
    "GRU": (352, 1024, 0),
    "LSTM": (384, 860, 0),
    "LSTM with projection": (384, 1152, 512),
}
SMALL = "nn.GRU(4, 4, batch_first=True)"
EXPORT = """
import json, sys, time
started = time.monotonic()
import warnings
import torch
from torch import nn
import edgernn
from edgernn_benchmarks.fresh import peak_resident_bytes
warnings.simplefilter("ignore")
torch.manual_seed(0)
module = eval(sys.argv[1])
example = torch.zeros(1, 20, module.input_size)
begun, used = time.monotonic(), time.process_time()
exported = edgernn.export(module, (example,), sys.argv[2])
print(json.dumps({
    "weights": sum(value.numel() for value in module.parameters()),
    "seconds": round(time.monotonic() - begun, 2),
    "processor_seconds": round(time.process_time() - used, 2),
    "seconds_with_start": round(time.monotonic() - started, 2),
    "gate_cases": exported.gate.cases,
    "gate_max_error": exported.gate.max_error,
    "peak_bytes": peak_resident_bytes(),
}))
"""


def constructor(name: str, smaller: int) -> str:
    """Return the expression that makes a model, its sizes divided by a number."""
    inputs, hidden, projected = (size // smaller for size in MODELS[name])
    options = f", proj_size={projected}" if projected else ""
    return f"nn.{name[:4].rstrip()}({inputs}, {hidden}, num_layers=2, batch_first=True{options})"


def export(text: str, path: Path) -> dict[str, Any]:
    """Export the module that a Python expression makes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, text, str(path)], stdout=subprocess.PIPE, check=True
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row | {"file_bytes": path.stat().st_size}


def main() -> None:
    """Print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--smaller", type=int, default=1, help="divide all sizes by this")
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        base = export(SMALL, path)["peak_bytes"]
        for name in arguments.models:
            text = constructor(name, arguments.smaller)
            row = {"model": name, "module": text, **export(text, path)}
            row["base_bytes"] = base
            row["times_the_file"] = round((row["peak_bytes"] - base) / row["file_bytes"], 2)
            rows.append(row)
            print(
                f"{name:<21} {row['weights'] / 1e6:5.1f} M weights  {row['seconds']:>6.1f} s "
                f"({row['processor_seconds']:.1f} s of all cores)  "
                f"{row['peak_bytes'] / 1e6:>6.0f} MB, {row['times_the_file']:.2f} times the file "
                f"above {base / 1e6:.0f} MB"
            )
    if arguments.json:
        value = {"rows": rows, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
