"""Draw decomposed layers, and compare what was recognised with the original."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import onnx
from helpers.decomposed import Form, Layer
from helpers.onnx_cells import run
from hypothesis import strategies as st

from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise import recognise

FORMS = st.builds(
    Form,
    cell=st.sampled_from(["LSTM", "GRU0", "GRU1"]),
    order=st.sampled_from(list(permutations(range(4)))),
    cut=st.sampled_from(["Split", "Slice", "separate"]),
    fused=st.booleans(),
    gemm=st.booleans(),
    bias=st.sampled_from(["x", "h", "both", "sum"]),
    blend=st.sampled_from(
        [
            "z*h+(1-z)*n",
            "(1-z)*h+z*n",
            "n+z*(h-n)",
            "h+z*(n-h)",
            "n-z*(n-h)",
            "n-z*n+z*h",
            "z*h+n-z*n",
            "h-z*h+z*n",
        ]
    ),
    squash=st.sampled_from(["Sigmoid", "HardSigmoid", "Clip"]),
    swap=st.booleans(),
    steps=st.sampled_from(["Split", "Slice", "Gather"]),
    batch_first=st.booleans(),
)
SEED = st.integers(0, 2**16)


def layers_of(form: Form, count: int, inputs: int, hidden: int, seed: int) -> list[Layer]:
    rng = np.random.default_rng(seed)
    gates = 4 if form.cell == "LSTM" else 3
    sizes = [inputs, *[hidden] * (count - 1)]
    return [Layer.random(rng, gates, size, hidden) for size in sizes]


def feeds_of(model: onnx.ModelProto, batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        value.name: rng.standard_normal(
            [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


def recognised(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Notes]:
    """Recognise, and compare with the original."""
    notes = Notes()
    before = model.SerializeToString(deterministic=True)
    changed = recognise(model, notes)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(changed, full_check=True)
    feeds = feeds_of(model)
    want, got = run(model, feeds), run(changed, feeds)
    assert want.keys() == got.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-5)
    return changed, notes


def layers_in(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ("LSTM", "GRU")]
