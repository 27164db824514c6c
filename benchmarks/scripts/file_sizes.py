"""Compare file sizes of every precision with float32, for every cell kind.

Input 40, one layer, a linear layer of 10 outputs on top, random weights.

    python benchmarks/scripts/file_sizes.py --json benchmarks/results/file_sizes.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import edgernn
from edgernn.files import check_writable, write_text
from edgernn.training import ModelConfig, build_model

INPUT, OUTPUT = 40, 10
PRECISIONS = ("fp16", "int8-dynamic", "int8", "w8a16", "int4")


def measure(folder: Path, cell: str, hidden: int) -> dict[str, Any]:
    """Return the bytes of one model's files by precision."""
    plain, data = folder / "plain.onnx", folder / "data.npz"
    model = build_model(ModelConfig(cell, INPUT, hidden, OUTPUT))
    edgernn.export(model, (torch.zeros(1, 50, INPUT),), plain)
    np.savez(data, x=np.random.default_rng(0).standard_normal((4, 100, INPUT), np.float32))
    sizes = {"float32": plain.stat().st_size}
    for precision in PRECISIONS:
        dynamic = precision in ("fp16", "int8-dynamic")
        result = edgernn.quantize(
            plain, folder / "small.onnx", precision=precision,
            calibration=None if dynamic else data,
        )  # fmt: skip
        sizes[precision] = result.bytes
    return {"cell": cell, "hidden": hidden, "bytes": sizes}


def main() -> None:
    """Print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print(f"{'':<9} {'float32':>9}  {'  '.join(f'{name:>12}' for name in PRECISIONS)}")
    with tempfile.TemporaryDirectory() as folder:
        for hidden in arguments.hidden:
            for cell in ("lstm", "gru", "rnn"):
                row = measure(Path(folder), cell, hidden)
                rows.append(row)
                whole = row["bytes"]["float32"]
                shares = "  ".join(f"{row['bytes'][name] / whole:>12.3f}" for name in PRECISIONS)
                print(f"{cell:<5}{hidden:>4} {whole:>9}  {shares}")
    if arguments.json:
        write_text(arguments.json, json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
