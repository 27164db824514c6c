"""Measure a custom cell, exported as an ONNX Scan, as generated C against ONNX Runtime.

A LayerNorm-LSTM of 64 inputs and 128 units: its cell has no ONNX operator, so the file holds a Scan
over products, normalizations and elementwise operators. One thread, batch 1, random weights. What
takes turns in one process: a step of a live stream from Python and 100 steps in one call, on both
targets, and a loop in C that only reads as many bytes as the cell has weights.

Limits of a step: 4 * 128 * (64 + 128) = 98,304 multiply-accumulates, and as many weights of 4
bytes, each read once. In a call of many steps the input weights, a third, are read once for 32.

    python benchmarks/scripts/scan_cell.py --json benchmarks/results/scan_cell.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ModelError
from edgernn.files import check_writable, write_text
from edgernn.metadata import Metadata
from edgernn_benchmarks import environment
from edgernn_benchmarks.c_loop import read_loop
from edgernn_benchmarks.candidates import job_for
from edgernn_benchmarks.inputs import make_inputs
from edgernn_benchmarks.measure import Job, Limit, measure
from edgernn_benchmarks.opening import load_options, open_session
from edgernn_benchmarks.scenarios import parse
from edgernn_benchmarks.statistics import compare_turns

INPUTS, HIDDEN, SEQUENCE, READS = 64, 128, 100, 32
ALLOWED = 1e-4  # normalizing amplifies rounding: against float64, both are off by up to 2e-5
BODY = """
wx = Gemm <transB = 1> (x_t, W, b)
rh = Gemm <transB = 1> (h_old, R)
nx = LayerNormalization (wx, gx, bx)
nh = LayerNormalization (rh, gh, bh)
a = Add (nx, nh)
ia, fa, ga, oa = Split <axis = -1, num_outputs = 4> (a)
i = Sigmoid (ia)
f = Sigmoid (fa)
g = Tanh (ga)
o = Sigmoid (oa)
kept = Mul (f, c_old)
new = Mul (i, g)
c_new = Add (kept, new)
nc = LayerNormalization (c_new, gc, bc)
tc = Tanh (nc)
h_new = Mul (o, tc)
y_t = Identity (h_new)
"""


def layernorm_lstm(inputs: int = INPUTS, hidden: int = HIDDEN, seed: int = 0) -> onnx.ModelProto:
    """Return a cell over ``x [time, batch, inputs]`` with the states ``h`` and ``c``."""
    rng = np.random.default_rng(seed)
    shapes = {
        "W": (4 * hidden, inputs), "R": (4 * hidden, hidden), "b": (4 * hidden,),
        "gx": (4 * hidden,), "bx": (4 * hidden,), "gh": (4 * hidden,), "bh": (4 * hidden,),
        "gc": (hidden,), "bc": (hidden,),
    }  # fmt: skip
    drawn = {
        name: rng.uniform(-1, 1, shape) * hidden**-0.5 + (name[0] == "g")
        for name, shape in shapes.items()
    }
    body = onnx.parser.parse_graph(f"body () => () {{{BODY}}}")
    body.input.extend(_value(name, [None, hidden]) for name in ("h_old", "c_old"))
    body.input.append(_value("x_t", [None, inputs]))
    body.output.extend(_value(name, [None, hidden]) for name in ("h_new", "c_new", "y_t"))
    node = helper.make_node(
        "Scan", ["h", "c", "x"], ["h_next", "c_next", "y"], body=body, num_scan_inputs=1
    )
    states = [_value(name, ["batch", hidden]) for name in ("h", "c", "h_next", "c_next")]
    graph = helper.make_graph(
        [node], "cell",
        [_value("x", ["time", "batch", inputs]), *states[:2]],
        [_value("y", ["time", "batch", hidden]), *states[2:]],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in drawn.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    axes = Axes(batch=1, time=0)
    specs = tuple(StateSpec(name, f"{name}_next", batch_axis=0) for name in ("h", "c"))
    contract = Contract(specs, StreamSpec(True, {"x": axes}, {"y": axes}))
    helper.set_model_props(model, Metadata(contract=contract).to_props())
    return model


def _value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def timed(target: str, calls: int, folder: Path) -> dict[str, Any]:
    """Check that both compute the same, and time them."""
    path = folder / "cell.onnx"
    onnx.save(layernorm_lstm(), path)
    sessions = {name: open_session(path, name, **load_options(name, 1)) for name in ("cpu", target)}
    inputs = make_inputs(sessions["cpu"], SEQUENCE, 1, seed=0)
    right = sessions["cpu"].run(inputs)["y"]
    off = float(np.abs(sessions[target].run(inputs)["y"] - right).max())
    if not off <= ALLOWED:
        raise ModelError(f"{target} is off by {off:.3g}")
    weights = 4 * HIDDEN * (INPUTS + HIDDEN)
    found: dict[str, Any] = {"model": f"LayerNorm-LSTM {INPUTS},{HIDDEN}", "off": off,
                             "macs": weights, "bytes": 4 * weights, "parts": {}}  # fmt: skip
    for part, scenario in (("step", "step"), ("sequence", f"sequence:{SEQUENCE}")):
        jobs = {name: job_for(s, parse(scenario), seed=0) for name, s in sessions.items()}
        if part == "step":
            jobs["read"] = Job("read", read_loop(4 * weights), [READS])
        measure(list(jobs.values()), Limit(iterations=calls if part == "step" else calls // 8))
        if failed := [job for job in jobs.values() if job.error]:
            raise ModelError(f"{failed[0].name} failed: {failed[0].error}")
        ours, theirs = jobs[target], jobs["cpu"]
        ratio = compare_turns(ours.samples_ns, ours.turns, theirs.samples_ns, theirs.turns)
        medians = {name: float(np.median(job.samples_ns)) for name, job in jobs.items()}
        if part == "step":
            medians["read"] /= READS
        found["parts"][part] = {
            "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high, "median_ns": medians,
            "samples_ns": {name: job.samples_ns for name, job in jobs.items()},
        }  # fmt: skip
    for session in sessions.values():
        session.close()
    return found


def show(found: dict[str, Any]) -> None:
    """Print the ratios, and the shares of the limit."""
    print(f"{found['model']}: {found['macs']:,} multiply-accumulates and {found['bytes']:,} bytes")
    for part, row in found["parts"].items():
        ends = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
        print(f"  {part:<10}{row['ratio']:.2f}×{ends}")
    medians = found["parts"]["step"]["median_ns"]
    theirs, read = medians["cpu"], medians["read"]
    ours = next(ns for name, ns in medians.items() if name not in ("cpu", "read"))
    print(f"  a step that only reads the weights: {theirs / read:.2f}×, {read / ours:.0%} of ours")


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="native")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.json:
        check_writable(given.json)
    with TemporaryDirectory() as folder:
        found = timed(given.target, given.calls, Path(folder))
    show(found)
    if given.json:
        result = {"environment": environment.capture(), **found}
        write_text(given.json, json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
