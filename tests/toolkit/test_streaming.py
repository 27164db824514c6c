from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import ContractError, InputError
from edgernn.streaming import measure_sequences, run_in_chunks, steps_at_once
from edgernn_runtimes import load


@given(length=st.integers(1, 30), chunk=st.integers(1, 40), batch=st.integers(1, 4))
def test_chunks_are_joined_in_order(
    tmp_path_factory: pytest.TempPathFactory, length: int, chunk: int, batch: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "streaming.onnx"
    session = load(path if path.exists() else write_model(path, cell="lstm"), "cpu")
    x = {"x": normal(1, batch, length, 8)}
    got = run_in_chunks(session, x, chunk)["y"]
    np.testing.assert_allclose(got, session.run(x)["y"], atol=2e-6)


@pytest.mark.parametrize("chunk", [0, -3])
def test_a_chunk_below_one_step_is_refused(tmp_path: Path, chunk: int) -> None:
    session = load(write_model(tmp_path / "a.onnx"), "cpu")
    with pytest.raises(InputError, match="chunk must be at least 1"):
        run_in_chunks(session, {"x": normal(1, 1, 4, 8)}, chunk)


def test_bad_input_and_models_without_contract_are_refused(tmp_path: Path) -> None:
    session = load(write_model(tmp_path / "a.onnx"), "cpu")
    with pytest.raises(InputError, match="got shape"):
        run_in_chunks(session, {"x": normal(1, 4, 8)}, 1)
    plain = load(write_model(tmp_path / "b.onnx", contract=False), "cpu")
    with pytest.raises(ContractError, match="cannot stream; export"):
        run_in_chunks(plain, {"x": normal(1, 1, 4, 8)}, 1)
    both = load(write_model(tmp_path / "c.onnx", bidirectional=True), "cpu")
    with pytest.raises(ContractError, match="not causal"):
        run_in_chunks(both, {"x": normal(1, 1, 4, 8)}, 1)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_model_of_fixed_steps_is_given_as_many(tmp_path: Path, size: int) -> None:
    whole = load(write_model(tmp_path / "whole.onnx"), "cpu")
    fixed = load(write_model(tmp_path / "fixed.onnx", time=size), "cpu")
    assert (steps_at_once(whole), steps_at_once(fixed)) == (None, size)
    x = {"x": normal(1, 2, 3 * size, 8)}
    for chunk in (1, 50):
        np.testing.assert_allclose(
            run_in_chunks(fixed, x, chunk)["y"], whole.run(x)["y"], atol=2e-6
        )


@pytest.mark.parametrize(
    ("steps", "advice"),
    [(50, "the sequences have 50, .* cut them to 49 steps or pad them to 56"),
     (3, "the sequences have 3, .* multiple; pad them to 7")],
)  # fmt: skip
def test_sequences_that_are_no_multiple_are_refused(
    tmp_path: Path, steps: int, advice: str
) -> None:
    fixed = load(write_model(tmp_path / "fixed.onnx", time=7), "cpu")
    x = {"x": normal(1, 1, steps, 8)}
    with pytest.raises(InputError, match=f"takes 7 time steps at once, and {advice}"):
        run_in_chunks(fixed, x, 50)
    with pytest.raises(InputError, match="no multiple"):
        measure_sequences(fixed, x)
