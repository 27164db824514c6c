"""Draw the plots of docs/tutorial-int8.md, from a model of task `keywords` and measured results.

python scripts/tutorial_plots.py kw.onnx
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgernn import reference
from edgernn.integer import INTEGER, InputScale, activations, cells, recurrent_parameters
from edgernn.tasks import get_task
from edgernn.tasks.base import DataSource
from edgernn_benchmarks import svg

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "integer_accuracy.json"
STYLE = """<style>
text { font: 12.5px system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; fill: #1c2329 }
.tick, .title { fill: #59646e } .tick { font-size: 11.5px }
.axis { stroke: #59646e } .grid { stroke: #e3e7ea }
.bar { fill: currentColor; fill-opacity: 0.75 }
.curve { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round }
.c0 { color: #1f6fb2; fill: #1f6fb2 } .c1 { color: #c8442c; fill: #c8442c }
polyline.c0, polyline.c1 { fill: none }
</style>"""
Floats = NDArray[np.float32]
Curve = tuple[str, Sequence[float], Sequence[float]]


def plot(name: str, content: str, description: str) -> None:
    """Write one picture with its own style and a white ground."""
    whole = svg.figure(f'{STYLE}<rect width="100%" height="100%" fill="#fff"/>{content}',
                       description)  # fmt: skip
    whole = whole.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    (IMAGES / name).write_text(whole + "\n")


def axes(x: svg.Scale, y: svg.Scale, titles: tuple[str, str]) -> str:
    """Draw both axes with plain numbers."""
    shown = [[(value, f"{value:g}") for value in scale.ticks()] for scale in (x, y)]
    return svg.x_axis(x, titles[0], shown[0]) + svg.y_axis(y, titles[1], shown[1])


def curves(lines: Sequence[Curve], titles: tuple[str, str]) -> str:
    """Draw curves with their names."""
    x = svg.spread([v for _, xs, _ in lines for v in xs], svg.LEFT, svg.RIGHT, log=False, pad=0.0)
    y = svg.spread([v for *_, ys in lines for v in ys], svg.BOTTOM, svg.TOP, log=False, pad=0.08)
    parts = [axes(x, y, titles)]
    for index, (name, xs, ys) in enumerate(lines):
        points = [(x(a), y(b)) for a, b in zip(xs, ys, strict=True)]
        parts.append(svg.path(points, f"curve {svg.colour(index)}"))
        place = svg.TOP + 16 + 17 * index
        parts.append(svg.text(svg.RIGHT - 6, place, name, svg.colour(index), "end"))
    return "".join(parts)


def bars(values: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], title: str) -> str:
    """Draw groups of bars from 0."""
    heights = [0.0, *(v for _, group in values for v in group)]
    y = svg.spread(heights, svg.BOTTOM, svg.TOP, log=False, pad=0.1)
    width = (svg.RIGHT - svg.LEFT) / len(values)
    parts = [svg.y_axis(y, title, [(value, f"{value:g}") for value in y.ticks()])]
    for place, (name, group) in enumerate(values):
        left = svg.LEFT + width * place
        parts.append(svg.text(left + width / 2, svg.BOTTOM + 17, name, "tick", "middle"))
        for index, value in enumerate(group):
            top, bottom = sorted((y(value), y(0)))
            size = 0.8 * width / len(group)
            parts.append(
                f'<rect x="{left + 0.1 * width + size * index:.1f}" y="{top:.1f}" '
                f'width="{size * 0.9:.1f}" height="{max(bottom - top, 0.8):.1f}" '
                f'class="bar {svg.colour(index)}"/>'
            )
    parts += [
        svg.text(svg.LEFT + 8, svg.TOP + 14 + 17 * index, name, svg.colour(index))
        for index, name in enumerate(names)
    ]
    return "".join(parts)


def read_gru(path: Path) -> dict[str, Floats]:
    """Return W, R and B of the first GRU in a float32 file."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node = next(node for node in graph.node if node.op_type == "GRU")
    return dict(zip("wrb", (tensors[name][0] for name in node.input[1:4]), strict=True))


def recordings(steps: int) -> Floats:
    """Return features of the task's training recordings, one after another ``[steps, 1, F]``."""
    batches = get_task("keywords").splits(DataSource())["train"].batches(1)
    rows = [batch.x[0] for batch in batches]
    rows = rows * -(-steps // sum(map(len, rows)))
    joined: Floats = np.concatenate(rows)[:steps, None]
    return joined


def input_ranges(x: Floats) -> None:
    """Draw the range of every input channel, and the one that holds them all."""
    low, high = x.min((0, 1)), x.max((0, 1))
    places = np.arange(len(low))
    across = svg.spread([-1, len(low)], svg.LEFT, svg.RIGHT, log=False, pad=0.0)
    y = svg.spread([low.min(), high.max()], svg.BOTTOM, svg.TOP, log=False, pad=0.05)
    drawn = "".join(
        f'<rect x="{across(k) - 3:.1f}" y="{y(b):.1f}" width="6" height="{y(a) - y(b):.1f}" '
        f'class="bar c0"/>'
        for k, a, b in zip(places, low, high, strict=True)
    )
    plot("input-ranges.svg", axes(across, y, ("input channel", "value")) + drawn,
         "Ranges of the input channels")  # fmt: skip


def tanh_error() -> None:
    """Draw the error of the integer tanh over its arguments."""
    p = np.arange(-32767, 32768, 97, dtype=np.int32)
    error = activations.tanh(p) - 32768 * np.tanh(p / 4096)
    line: Curve = ("integer tanh", list(p / 4096), list(error))
    plot("integer-tanh.svg", curves([line], ("pre-activation", "error in units of 2^-15")),
         "Error of the integer tanh")  # fmt: skip


def state_bits(weights: dict[str, Floats], x: Floats) -> None:
    """Draw the error along time with a state of 16 bits, and with one of 8."""
    hidden = weights["r"].shape[1]
    precision = INTEGER["int8"]
    scale = InputScale.of_range(x.min((0, 1)), x.max((0, 1)), precision.input_bits)
    layer = recurrent_parameters("gru", **weights, x=scale, precision=precision)
    zeros = np.zeros((1, hidden), np.float32)
    wanted, _ = reference.gru(x, reference.float_weights(*weights.values()), zeros)
    before = cells.linear(x, layer.input)
    lines: list[Curve] = []
    for name, keep in (("state of 16 bits", lambda h: h), ("state of 8 bits", _to_8_bits)):
        h = np.zeros((1, hidden), np.int32)
        errors = []
        for step in range(len(x)):
            h = keep(cells.gru_step(before[step], layer, h))
            errors.append(float(np.sqrt(np.mean((h / 2**15 - wanted[step]) ** 2))))
        means = np.reshape(errors, (-1, 10)).mean(axis=1)
        lines.append((name, [10.0 * index for index in range(len(means))], list(means)))
    plot("state-bits.svg", curves(lines[::-1], ("time step", "RMS error of the state")),
         "Error of the state with 8 and 16 bits")  # fmt: skip


def _to_8_bits(h: cells.Integers) -> cells.Integers:
    wide: cells.Integers = activations.narrow(h) * 256
    return np.minimum(wide, 32767)


def accuracies(results: dict[str, Any]) -> None:
    """Draw how far each precision is below float32."""
    names = list(results["folds"][0]["accuracy"])[1:]
    means = {
        cell: {
            name: np.mean([fold["accuracy"][name] for fold in results["folds"]
                           if fold["cell"] == cell])
            for name in ("float32", *names)
        }
        for cell in ("gru", "lstm")
    }  # fmt: skip
    groups = [
        (name.replace("trained", "QAT"),
         [float(100 * (mean[name] - mean["float32"])) for mean in means.values()])
        for name in names
    ]  # fmt: skip
    plot("accuracy-by-precision.svg",
         bars(groups, ("GRU-64", "LSTM-64"), "points of accuracy against float32"),
         "Accuracy of each precision against float32")  # fmt: skip


def drift(results: dict[str, Any]) -> None:
    """Draw the error over a million steps."""
    lines: list[Curve] = []
    for cell, found in results["drift"].items():
        output = next(iter(found["outputs"].values()))
        steps = [edge / 1000 for edge in found["edges"][1:]]  # where each window ends
        lines.append((f"{cell.upper()}-64 int8", steps, output["rms"]))
    plot("drift.svg", curves(lines, ("thousand time steps", "RMS error of the outputs")),
         "Error over a million steps")  # fmt: skip


def main() -> None:
    """Write all plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a float32 GRU of task keywords")
    arguments = parser.parse_args()
    x = recordings(2000)
    input_ranges(x)
    tanh_error()
    state_bits(read_gru(arguments.model), x)
    results = json.loads(RESULTS.read_text())
    accuracies(results)
    drift(results)


if __name__ == "__main__":
    main()
