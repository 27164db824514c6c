"""Real files of other people: DTLN's two halves, with packed states and with unrolled cells."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgernn_exporters.codegen import compile as generate
from edgernn_runtimes import load


@pytest.mark.parametrize("name", ["model_1.onnx", "model_2.onnx"])
def test_dtln_equals_onnx_runtime(name: str) -> None:
    beside = Path(__file__).parents[4] / "shared" / "models"
    path = Path(os.environ.get("EDGERNN_MODELS") or beside) / "dtln" / name
    if not path.is_file():
        pytest.skip(f"no {path}; set EDGERNN_MODELS to a folder with dtln/")
    reference = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        node.name: rng.standard_normal(node.shape).astype(np.float32)
        for node in reference.get_inputs()
    }
    names = [node.name for node in reference.get_outputs()]
    got = load(path, "native", compile=generate).run(feeds)
    for output, want in zip(names, reference.run(names, feeds), strict=True):
        np.testing.assert_allclose(got[output], want, atol=1e-5)
