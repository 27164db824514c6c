"""The numpy cells against ONNX's own reference evaluator and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graphs import Floats, draw_parameters, normal, recurrent_model, run_onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from edgernn import reference

FORMS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lstm": ("lstm", {}, {}),
    "gru": ("gru", {"linear_before_reset": 1}, {"linear_before_reset": True}),
    "gru-reset-before": ("gru", {}, {"linear_before_reset": False}),
    "rnn": ("rnn", {}, {}),
    "rnn-relu": ("rnn", {"activations": ["Relu"]}, {"activation": lambda x: np.maximum(x, 0)}),
}


@pytest.mark.parametrize("form", FORMS)
@given(inputs=st.integers(1, 20), hidden=st.integers(1, 20), batch=st.integers(1, 4),
       time=st.integers(1, 9), both=st.booleans(), bias=st.booleans())  # fmt: skip
def test_float_cells_equal_onnxruntime(
    form: str, inputs: int, hidden: int, batch: int, time: int, both: bool, bias: bool
) -> None:
    cell, attributes, options = FORMS[form]
    count = 2 if both else 1
    parameters = draw_parameters(cell, inputs=inputs, hidden=hidden, directions=count, bias=bias)
    if both:
        attributes = {**attributes, "direction": "bidirectional"}
        attributes |= {"activations": ["Relu"] * 2} if "activations" in attributes else {}
    letters = "hc" if cell == "lstm" else "h"
    x = normal(1, time, batch, inputs)
    starts = [np.tanh(normal(seed, count, batch, hidden)) for seed, _ in enumerate(letters)]
    feeds = {"x": x, **dict(zip(letters, starts, strict=True))}
    got = run_onnx(recurrent_model(cell, parameters, **attributes), feeds)
    for d in range(count):
        b = np.zeros(2 * parameters.w.shape[1], "f4") if parameters.b is None else parameters.b[d]
        weights = reference.float_weights(parameters.w[d], parameters.r[d], b)
        turn = slice(None, None, -1 if d else 1)
        run = getattr(reference, cell)
        y, *last = run(x[turn], weights, *(start[d] for start in starts), **options)
        np.testing.assert_allclose(got["y"][turn, d], y, atol=2e-5, rtol=2e-5)
        for letter, value in zip(letters, last, strict=True):
            np.testing.assert_allclose(got[f"{letter}k"][d], value, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("form", FORMS)
def test_lengths_mean_what_they_do_in_onnxruntime(form: str, direction: str) -> None:
    cell, attributes, options = FORMS[form]
    parameters, lengths = draw_parameters(cell, inputs=4, hidden=5), [3, 6, 0, 1]
    assert parameters.b is not None
    weights = reference.float_weights(parameters.w[0], parameters.r[0], parameters.b[0])
    turn = slice(None, None, -1 if direction == "reverse" else 1)

    def run(x: Floats, *starts: Floats) -> list[Floats]:
        y, *last = getattr(reference, cell)(x[turn], weights, *starts, **options)
        return [y[turn], *last]

    x, letters = normal(1, 6, 4, 4), "hc" if cell == "lstm" else "h"
    starts = [normal(seed, 1, 4, 5, scale=0.3) for seed, _ in enumerate(letters)]
    given = {4: ("lens", np.array(lengths, np.int32))}
    model = recurrent_model(cell, parameters, direction=direction, extra_inputs=given, **attributes)
    got = run_onnx(model, {"x": x, **dict(zip(letters, starts, strict=True))})
    want = reference.with_lengths(run, x, lengths, *(start[0] for start in starts))
    np.testing.assert_allclose(got["y"][:, 0], want[0], atol=2e-5)
    for letter, value in zip(letters, want[1:], strict=True):
        np.testing.assert_allclose(got[f"{letter}k"][0], value, atol=2e-5)


@pytest.mark.parametrize("form", ["lstm", "gru", "gru-reset-before", "rnn"])
def test_one_step_equals_the_evaluator_of_onnx(form: str) -> None:
    cell, attributes, options = FORMS[form]
    parameters = draw_parameters(cell, inputs=5, hidden=6)
    assert parameters.b is not None
    x, start = normal(1, 1, 3, 5), np.zeros((1, 3, 6), np.float32)
    letters = "hc" if cell == "lstm" else "h"
    model = ReferenceEvaluator(recurrent_model(cell, parameters, **attributes))
    want = model.run(["y"], {"x": x, **dict.fromkeys(letters, start)})[0]
    weights = reference.float_weights(parameters.w[0], parameters.r[0], parameters.b[0])
    y = getattr(reference, cell)(x, weights, *(start[0] for _ in letters), **options)[0]
    np.testing.assert_allclose(y, want[:, 0], atol=1e-6)


def test_the_sigmoid_does_not_overflow() -> None:
    x = np.array([-1e30, -100, 0, 100, 1e30], np.float32)
    assert reference.sigmoid(x).tolist() == [0, 0, 0.5, 1, 1]


def test_quantized_products_are_near_the_float_ones() -> None:
    x, w = normal(1, 4, 30), normal(2, 30, 7)
    scale = (np.abs(w).max(axis=0) / 127).astype(np.float32)
    stored = (np.rint(w / scale) + 128).astype(np.uint8)
    np.testing.assert_allclose(reference.row_product(x, stored, scale), x @ w, atol=0.2)
    h = np.tanh(x)
    np.testing.assert_allclose(reference.bounded_product(h, stored, scale), h @ w, atol=0.2)
    assert not reference.row_product(0 * x, stored, scale).any()
