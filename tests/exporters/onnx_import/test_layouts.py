from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.foreign import NODE, foreign, value
from helpers.graphs import draw_parameters, normal, run_onnx, tensor
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.onnx_import.layouts import time_first
from edgernn_exporters.onnx_import.notes import Notes


def batch_first(
    cell: str, directions: int, hidden: int, *, states: bool, outputs: tuple[int, ...]
) -> onnx.ModelProto:
    weights = draw_parameters(cell, inputs=3, hidden=hidden, directions=directions)
    letters = ["h", "c"] if cell == "lstm" else ["h"]
    state = ["batch", directions, hidden]
    shapes = [["batch", "time", directions, hidden], state, state]
    names = ["y", "yh", "yc"][: 1 + len(letters)]
    kept = [name if place in outputs else "" for place, name in enumerate(names)]
    node = NODE(
        cell.upper(), ["x", "W", "R", "B", "", *(letters if states else [])], kept, layout=1,
        hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward",
    )  # fmt: skip
    assert weights.b is not None
    return foreign(
        [node],
        [value("x", ["batch", "time", 3]), *(value(s, state) for s in letters if states)],
        [value(n, shapes[place]) for place, n in enumerate(names) if place in outputs],
        [tensor("W", weights.w), tensor("R", weights.r), tensor("B", weights.b)],
    )


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@given(
    directions=st.integers(1, 2), hidden=st.integers(1, 4), batch=st.integers(1, 3),
    steps=st.integers(1, 5), states=st.booleans(),
    outputs=st.sampled_from([(0, 1), (0,), (1,)]),
)  # fmt: skip
def test_it_computes_the_same(
    cell: str, directions: int, hidden: int, batch: int, steps: int, states: bool,
    outputs: tuple[int, ...],
) -> None:  # fmt: skip
    model = batch_first(cell, directions, hidden, states=states, outputs=outputs)
    feeds = {"x": normal(0, batch, steps, 3)}
    if states:
        feeds |= {
            s: normal(1, batch, directions, hidden) for s in "hc" if s == "h" or cell == "lstm"
        }
    want = ReferenceEvaluator(model).run(None, feeds)
    notes = Notes()
    time_first(model, notes)
    assert len(notes) == 1
    onnx.checker.check_model(model)
    got = run_onnx(model, feeds)
    for value_, name in zip(want, got, strict=True):
        np.testing.assert_allclose(got[name], value_, atol=1e-6)


def test_other_nodes_stay() -> None:
    model = batch_first("gru", 1, 2, states=True, outputs=(0,))
    next(a for a in model.graph.node[0].attribute if a.name == "layout").i = 0
    before = model.SerializeToString()
    time_first(model, Notes())
    assert model.SerializeToString() == before
