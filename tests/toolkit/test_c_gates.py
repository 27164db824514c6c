from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import edgernn_exporters.codegen
from edgernn import c_gates
from edgernn.reference import EXACT

KERNELS = Path(edgernn_exporters.codegen.__file__).parent / "kernels"


def test_constants_are_those_of_the_header() -> None:
    text = (KERNELS / "edgernn_activations.h").read_text()
    found = dict(re.findall(r"#define EDGERNN_(\w+) \(?(-?[\d.]+)f\)?", text))
    for name in ("C1", "C2", "C3", "C4", "C5"):
        assert np.float32(found[f"EXP2_{name}"]) == getattr(c_gates, name)
    for name in ("SIGMOID_LIMIT", "TANH_LIMIT"):
        assert np.float32(found[name]) == getattr(c_gates, name)


@given(seed=st.integers(0, 999), scale=st.sampled_from([0.01, 1.0, 20.0, 1e3]))
def test_gates_are_close_to_the_formulas(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    i, o, f, g = rng.standard_normal((4, 64)).astype(np.float32) * np.float32(scale)
    c = rng.uniform(-2, 2, 64).astype(np.float32)
    made, exact = c_gates.GENERATED, EXACT
    for have, want in zip(made.lstm(i, o, f, g, c), exact.lstm(i, o, f, g, c), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-6)
    np.testing.assert_allclose(made.reset(i, c), exact.reset(i, c), atol=1e-6)
    np.testing.assert_allclose(made.update(i, g, c), exact.update(i, g, c), atol=1e-6)
    np.testing.assert_allclose(made.tanh(g), exact.tanh(g), atol=3e-7)
