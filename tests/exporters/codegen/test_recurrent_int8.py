"""Recurrent layers of precision int8-dynamic as C: the bits of the numpy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import Floats, draw_parameters, make_model, normal, recurrent_model, tensor
from helpers.quantized import rewritten, stored_bytes
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgernn import reference
from edgernn.c_gates import GENERATED
from edgernn.reference import Weights
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.quantization.functions import DOMAIN, function
from edgernn_runtimes import native

PHASES = [Phase.explicit, Phase.generate]
SIZES = st.integers(1, 40)
ISAS = [None, "portable"]


def weights_of(parameters: Any, d: int, *, bounded: bool) -> Weights:
    """Return the reference's weights of direction ``d``, quantized as the exporter does."""
    w, r = (stored_bytes(m[d].T) for m in (parameters.w, parameters.r))
    return reference.int8_dynamic_weights(*w, *r, parameters.b[d], bounded=bounded)


def expected(
    cell: str, parameters: Any, x: Floats, starts: list[Floats], **options: Any
) -> list[Floats]:
    """Run every direction in numpy; return y ``[T, D, B, H]`` and the last states."""
    directions = len(parameters.r)
    ys, lasts = [], []
    for d in range(directions):
        bounded = options.get("activation") is None or options["activation"] is GENERATED.tanh
        weights = weights_of(parameters, d, bounded=bounded)
        first = [start[d] for start in starts]
        given_x = x[::-1] if d else x
        if cell == "lstm":
            y, *last = reference.lstm(given_x, weights, *first, gates=GENERATED)
        elif cell == "gru":
            y, *last = reference.gru(given_x, weights, *first, gates=GENERATED, **options)
        else:
            y, *last = reference.rnn(given_x, weights, *first, **options)
        ys.append(y[::-1] if d else y)
        lasts.append(last)
    stacked = [np.stack([last[i] for last in lasts]) for i in range(len(lasts[0]))]
    return [np.stack(ys, axis=1), *stacked]


CONFIGURATIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lstm": ("lstm", {}, {}),
    "gru": ("gru", {"linear_before_reset": 1}, {"linear_before_reset": True}),
    "gru-reset-before": ("gru", {}, {"linear_before_reset": False}),
    "rnn": ("rnn", {}, {"activation": GENERATED.tanh}),
    "rnn-relu": ("rnn", {"activations": ["Relu"]},
                 {"activation": lambda value: np.maximum(value, 0)}),
}  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
@settings(max_examples=3, phases=PHASES)
@given(
    inputs=SIZES, hidden=SIZES, batch=st.integers(1, 3), time=st.integers(2, 12),
    both=st.booleans(), seed=st.integers(0, 999), scale=st.sampled_from([1.0, 1e-3, 30.0]),
)  # fmt: skip
def test_layers_have_the_bits_of_the_reference(
    name: str, isa: str | None, inputs: int, hidden: int, batch: int, time: int, both: bool,
    seed: int, scale: float, tmp_path: Path,
) -> None:  # fmt: skip
    cell, attributes, options = CONFIGURATIONS[name]
    count = 2 if both else 1
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * count}
    parameters = draw_parameters(cell, inputs=inputs, hidden=hidden, directions=count, seed=seed)
    direction = "bidirectional" if both else "forward"
    model = recurrent_model(cell, parameters, direction=direction, **attributes)
    rewritten(model)
    path = tmp_path / "model.onnx"
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = {"time": time, "batch": batch}[dim.dim_param]
    onnx.save(fixed, path)
    x = normal(seed, time, batch, inputs, scale=scale)
    letters = "hc" if cell == "lstm" else "h"
    starts = [np.tanh(normal(seed + i, count, batch, hidden)) for i in range(len(letters))]
    feeds = {"x": x, **dict(zip(letters, starts, strict=True))}
    got = native.load(path, compile=generate, isa=isa).run(feeds)
    want = expected(cell, parameters, x, starts, **options)
    for key, value in zip(["y", "hk", "ck"], want, strict=False):
        np.testing.assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize("isa", ISAS)
def test_linear_layers_have_the_bits_of_the_reference(isa: str | None, tmp_path: Path) -> None:
    sizes = [(1, 1), (3, 5), (40, 10), (64, 17), (129, 33), (7, 64)]
    initializers, nodes, shapes, feeds, want = [], [], {}, {}, {}
    for number, (inner, outer) in enumerate(sizes):
        weight, bias = normal(number, inner, outer), normal(number + 50, outer)
        values, scale = stored_bytes(weight)
        initializers += [tensor(f"w{number}", values), tensor(f"s{number}", scale),
                         tensor(f"b{number}", bias)]  # fmt: skip
        names = [f"{letter}{number}" for letter in "xwsb"]
        nodes.append(helper.make_node("LinearInt8Dynamic", names, [f"y{number}"], domain=DOMAIN))
        x = normal(number + 9, 2, 5, inner) * np.float32(10.0 ** (number - 3))
        shapes[f"x{number}"], feeds[f"x{number}"] = [2, 5, inner], x
        want[f"y{number}"] = reference.row_product(x, values, scale) + bias
    outputs = {name: list(value.shape) for name, value in want.items()}
    model = make_model(
        nodes, shapes, outputs, initializers, functions=[function("LinearInt8Dynamic", 20)]
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    got = native.load(path, compile=generate, isa=isa).run(feeds)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
