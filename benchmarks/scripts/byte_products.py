"""Measure ONNX Runtime's products of bytes: is each exact, and how quick is it.

Why `int8-dynamic` stores weights as unsigned bytes (docs/decisions/0003). One thread; the four
combinations take turns; the product is that of one step of a GRU-128, [1, 128] x [128, 384].

    python benchmarks/scripts/byte_products.py --json benchmarks/results/byte_products.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture

K, N = 128, 384
COMBINATIONS = (("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8"), ("int8", "uint8"))


def session(x_type: str, w: np.ndarray) -> Any:
    x_dtype = np.dtype(x_type)
    zero = {"int8": 0, "uint8": 128}
    tensors = [
        numpy_helper.from_array(w, "w"),
        numpy_helper.from_array(np.array(zero[x_type], x_dtype), "x_zero"),
        numpy_helper.from_array(np.array(zero[w.dtype.name], w.dtype), "w_zero"),
    ]
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x_dtype), [1, K])
    y = helper.make_tensor_value_info(
        "y", helper.np_dtype_to_tensor_dtype(np.dtype("int32")), [1, N]
    )
    node = helper.make_node("MatMulInteger", ["x", "w", "x_zero", "w_zero"], ["y"])
    graph = helper.make_graph([node], "product", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=200, help="in each round")
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    cases = []
    for x_type, w_type in COMBINATIONS:
        w_signed = rng.integers(-127, 128, (K, N))
        w_signed[:, 0] = 127  # the largest sums there are
        x_signed = np.full((1, K), 127)
        shift = {"int8": 0, "uint8": 128}
        x = (x_signed + shift[x_type]).astype(x_type)
        run = session(x_type, (w_signed + shift[w_type]).astype(w_type))
        wrong = int((run.run(None, {"x": x})[0] != x_signed @ w_signed).sum())
        rows.append({"x": x_type, "w": w_type, "wrong_sums": wrong, "of": N, "samples_ns": []})
        cases.append((run, x))
    for _ in range(arguments.rounds):
        for row, (run, x) in zip(rows, cases, strict=True):
            started = time.perf_counter_ns()
            for _ in range(arguments.calls):
                run.run(None, {"x": x})
            row["samples_ns"].append((time.perf_counter_ns() - started) // arguments.calls)
    print(f"onnxruntime {onnxruntime.__version__}, MatMulInteger [1, {K}] x [{K}, {N}], one thread")
    for row in rows:
        row["median_us"] = statistics.median(row["samples_ns"]) / 1000
        print(
            f"{row['x']:>6} x {row['w']:<6} {row['median_us']:6.1f} us, "
            f"{row['wrong_sums']} of {row['of']} sums wrong"
        )
    if arguments.json:
        value = {"rows": rows, "environment": capture()}
        write_text(arguments.json, json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
