"""Cells with hard sigmoids are nodes again, run everywhere, and stay in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.decomposed import Form, unrolled
from helpers.recognised import layers_in, layers_of
from helpers.recurrent_graphs import drawn

import edgernn
from edgernn.errors import ModelError


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
@pytest.mark.parametrize("squash", ["Clip", "HardSigmoid"])
def test_they_run_and_are_not_quantized(cell: str, squash: str, tmp_path: Path) -> None:
    form = Form(cell, squash=squash, batch_first=True)
    onnx.save(unrolled(form, layers_of(form, 1, 8, 16, 0), 4, 1), tmp_path / "theirs.onnx")
    path = tmp_path / "ours.onnx"
    result = edgernn.import_onnx(tmp_path / "theirs.onnx", path)
    assert result.proof is not None
    (node,) = layers_in(onnx.load(path))
    given = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    gates = [b"HardSigmoid"] * (len(given["activations"]) - (2 if cell == "LSTM" else 1))
    assert given["activations"] == [*gates, *[b"Tanh"] * (2 if cell == "LSTM" else 1)]
    x = drawn(1, 20, 8)
    want = edgernn.load(path, target="cpu", threads=1).run({"x": x})["y"]
    got = edgernn.load(path, target="native").run({"x": x})["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="activations other than the default"):
        edgernn.quantize(path, tmp_path / "small.onnx", precision="int8-dynamic")
