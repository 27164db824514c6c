"""Compare file sizes of float32 and int8-dynamic for every cell kind.

Input 40, one layer, a linear layer of 10 outputs on top, random weights.

    python benchmarks/scripts/file_sizes.py --json benchmarks/results/file_sizes.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import edgernn
from edgernn.files import check_writable, write_text
from edgernn.training import ModelConfig, build_model

INPUT, OUTPUT = 40, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        for hidden in arguments.hidden:
            for cell in ("lstm", "gru", "rnn"):
                model = build_model(ModelConfig(cell, INPUT, hidden, OUTPUT))
                edgernn.export(model, (torch.zeros(1, 50, INPUT),), plain)
                result = edgernn.quantize(plain, small, precision="int8-dynamic")
                ratio = result.bytes / result.source_bytes
                rows.append({
                    "cell": cell,
                    "hidden": hidden,
                    "float32_bytes": result.source_bytes,
                    "int8_dynamic_bytes": result.bytes,
                    "ratio": round(ratio, 4),
                })  # fmt: skip
                sizes = f"{result.source_bytes:>8} {result.bytes:>8}"
                print(f"{cell:<5}{hidden:>4}  {sizes}  {ratio:.3f}")
    if arguments.json:
        write_text(arguments.json, json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
