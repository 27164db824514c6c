"""Time and memory of importing a file of 50 MB.

Two LSTM layers of opset 13 with random weights, once as ONNX has them, once as expressions of
constants (transposed and joined), which the import has to fold; gate included. Each import runs in
a process of its own, its check in another; the memory is the largest resident size of any of them,
less that of the import of a model of a few weights.

    python benchmarks/scripts/import_cost.py --json benchmarks/results/import_cost.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.child_cost import Cost, cost_of, in_words
from edgernn_benchmarks.environment import capture


def make(path: Path, inputs: int, hidden: int, *, expressions: bool) -> Path:
    """Write a model of two layers; return its path."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []

    def constant(name: str, *shape: int) -> str:
        value = (rng.standard_normal(shape) * hidden**-0.5).astype(np.float32)
        tensors.append(numpy_helper.from_array(value, name))
        return name

    def weight(name: str, rows: int, width: int) -> str:
        """Add ``[1, rows, width]``, if asked as two halves of its transpose."""
        if not expressions:
            return constant(name, 1, rows, width)
        halves = [constant(f"{name}.{side}", 1, width, rows // 2) for side in ("left", "right")]
        nodes.append(helper.make_node("Concat", halves, [f"{name}.t"], axis=2))
        nodes.append(helper.make_node("Transpose", [f"{name}.t"], [name], perm=[0, 2, 1]))
        return name

    x, width = "x", inputs
    for layer in range(2):
        w, r = (
            weight(f"{name}{layer}", 4 * hidden, columns)
            for name, columns in (("W", width), ("R", hidden))
        )
        b = constant(f"B{layer}", 1, 8 * hidden)
        node = helper.make_node("LSTM", [x, w, r, b], [f"y{layer}"], hidden_size=hidden)
        axes = numpy_helper.from_array(np.array([1]), f"axes{layer}")
        tensors.append(axes)
        nodes += [node, helper.make_node("Squeeze", [f"y{layer}", axes.name], [f"s{layer}"])]
        x, width = f"s{layer}", hidden
    graph = helper.make_graph(
        nodes,
        "cost",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", inputs])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["time", "batch", hidden])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path.write_bytes(model.SerializeToString())
    return path


def measure(model: Path) -> Cost:
    """Import in a process of its own."""
    return cost_of(["import", model, "-o", model.with_suffix(".new")])


def main() -> None:
    """Print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inputs", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=880)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for expressions in (False, True):
            small = make(Path(name) / "little.onnx", 4, 4, expressions=expressions)
            large = make(
                Path(name) / "large.onnx", arguments.inputs, arguments.hidden,
                expressions=expressions,
            )  # fmt: skip
            weights = "expressions" if expressions else "constants"
            cost = measure(large).row(measure(small), large)
            rows.append({"weights": weights, **cost})
            print(f"{weights:<12} {cost['file_bytes'] / 1e6:>5.1f} MB {in_words(cost)}")
    if arguments.json:
        value = {"rows": rows, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
