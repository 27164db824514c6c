"""Quantized layers whose rows have lengths of their own, as C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.c_runner import FLAGS, SANITIZE, CProgram
from helpers.graphs import draw_parameters, recurrent_model, run_onnx
from helpers.lengths import CELLS, DIRECTIONS, PRECISIONS, draw_feeds, quantized_layer
from helpers.quantized import assert_same, ranges_for, rewritten
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import ModelError
from edgernn.integer import INTEGER
from edgernn.metadata import Metadata
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.codegen import emit
from edgernn_runtimes import native


def write(model: onnx.ModelProto, path: Path, time: int, batch: int) -> Path:
    """Write a model with fixed sizes, which C without a state contract needs."""
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = {"time": time, "batch": batch}[dim.dim_param]
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=3, phases=[Phase.explicit, Phase.generate])
@given(
    precision=st.sampled_from(PRECISIONS),
    direction=st.sampled_from(list(DIRECTIONS)),
    inputs=st.integers(1, 20), hidden=st.integers(1, 40), time=st.integers(1, 9),
    parts=st.lists(st.floats(0, 1), min_size=1, max_size=3), seed=st.integers(0, 999),
)  # fmt: skip
def test_generated_code_returns_what_onnx_runtime_does(
    name: str, precision: str, direction: str, inputs: int, hidden: int, time: int,
    parts: list[float], seed: int, tmp_path: Path,
) -> None:  # fmt: skip
    batch, sizes = len(parts), (inputs, hidden)
    lengths = [round(part * time) for part in parts]
    model = quantized_layer(name, precision, direction, sizes, seed, lengths)
    feeds = draw_feeds(name, direction, sizes, time, batch, seed)
    want = run_onnx(model, feeds)
    path = write(model, tmp_path / "model.onnx", time, batch)
    got = native.load(path, compile=generate).run(feeds)
    if precision in INTEGER:
        assert_same(got, want)
    else:  # one tanh that differs in its last bit may move a rounding
        for key, value in want.items():
            np.testing.assert_allclose(got[key], value, atol=0.01, err_msg=key)


@pytest.mark.parametrize(("name", "precision"), [("lstm", "int8"), ("gru", "int8-dynamic")])
def test_it_has_no_warnings_and_stays_within_its_memory(
    name: str, precision: str, tmp_path: Path
) -> None:
    sizes, lengths = (3, 5), [4, 0, 2]
    model = quantized_layer(name, precision, "bidirectional", sizes, 1, lengths)
    feeds = draw_feeds(name, "bidirectional", sizes, 4, 3, 1)
    want = run_onnx(model, feeds)
    path = write(model, tmp_path / "model.onnx", 4, 3)
    program = CProgram(path, tmp_path / "c", flags=[*FLAGS, *SANITIZE])
    for key, value in program.run(feeds).items():
        np.testing.assert_allclose(value, want[key], atol=1e-6, err_msg=key)


@pytest.mark.parametrize("precision", ["float32", "int8-dynamic", "int8"])
def test_a_stream_refuses_lengths(precision: str, tmp_path: Path) -> None:
    parameters = draw_parameters("gru", inputs=3, hidden=4)
    lengths = {4: ("lens", np.array([2], np.int32))}
    model = recurrent_model("gru", parameters, states=False, extra_inputs=lengths)
    if precision != "float32":
        rewritten(model, precision, ranges=ranges_for(["cell"]))
    axes = Axes(batch=1, time=0)
    stream = StreamSpec(causal=True, inputs={"x": axes}, outputs={"y": Axes(batch=2, time=0)})
    del model.graph.output[1:]
    onnx.helper.set_model_props(model, Metadata(Contract((), stream)).to_props())
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="takes sequence_lens, which a stream cannot know"):
        emit(tmp_path / "model.onnx", name="m", target="native")
