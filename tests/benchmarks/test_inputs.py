from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import ModelPair, write_model
from helpers.toy_pairs import Decoder, Encoder

import edgernn_runtimes
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Session
from edgernn_benchmarks.inputs import (
    DRAWS,
    common_steps,
    make_calls,
    make_inputs,
    run_whole,
    split_steps,
    without_time,
)


def test_random_inputs_are_seeded(models: ModelPair) -> None:
    session = edgernn_runtimes.load(models.plain)
    first = make_inputs(session, 7, 3, seed=1)["x"]
    assert first.shape == (3, 7, 8)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, make_inputs(session, 7, 3, seed=1)["x"])
    assert not np.array_equal(first, make_inputs(session, 7, 3, seed=2)["x"])


def test_ids_are_zero_or_one(tmp_path: Path) -> None:
    session = edgernn_runtimes.load(write_model(tmp_path / "ids.onnx", embedding=2))
    x = make_inputs(session, 50, 2, seed=0)["x"]
    assert x.dtype == np.int64
    assert set(np.unique(x)) == {0, 1}
    assert session.run({"x": x})["y"].shape == (2, 50, 4)


def test_given_inputs_are_repeated(models: ModelPair) -> None:
    session = edgernn_runtimes.load(models.plain)
    given = np.arange(24, dtype=np.float32).reshape(1, 3, 8)
    made = make_inputs(session, 7, 2, seed=0, given={"x": given})["x"]
    np.testing.assert_array_equal(made[1, 3:6], given[0])
    assert made.shape == (2, 7, 8)


def test_wrong_given_inputs_are_refused(models: ModelPair) -> None:
    session = edgernn_runtimes.load(models.plain)
    with pytest.raises(InputError, match=r"lack x float32"):
        make_inputs(session, 1, 1, seed=0, given={"z": np.zeros(1)})
    with pytest.raises(InputError, match=r"expected x float32 .* got shape \[3\]"):
        make_inputs(session, 1, 1, seed=0, given={"x": np.zeros(3)})


def test_without_contract_the_axes_are_unknown(tmp_path: Path) -> None:
    session = edgernn_runtimes.load(write_model(tmp_path / "plain.onnx", contract=False))
    with pytest.raises(ContractError, match="export it with edgernn export"):
        make_inputs(session, 1, 1, seed=0)


def test_pieces_are_the_whole(models: ModelPair) -> None:
    session = edgernn_runtimes.load(models.plain)
    inputs = make_inputs(session, 11, 2, seed=0)
    pieces = split_steps(session, inputs, 3)
    assert len(pieces) == 3
    assert all(piece["x"].flags.c_contiguous for piece in pieces)
    whole = np.concatenate([piece["x"] for piece in pieces], axis=1)
    np.testing.assert_array_equal(whole, inputs["x"][:, :9])


def test_axes_that_are_neither_time_nor_batch_need_a_size() -> None:
    decoder = Decoder(seed=0, tokens=4, scale=1.0)
    made = make_inputs(decoder, 3, 2, seed=0, sizes={"source": 5})
    assert made["memory"].shape == (2, 5, 3)
    with pytest.raises(InputError, match=r"give its size \(--fix source=10\)"):
        make_inputs(decoder, 3, 2, seed=0)


@pytest.mark.parametrize("size", [1, 3])
def test_a_model_of_fixed_steps_is_run_through_a_stream(tmp_path: Path, size: int) -> None:
    paths = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", time=size)
    whole, fixed = (edgernn_runtimes.load(path) for path in paths)
    calls = make_calls(whole, 9, 2, seed=0)
    np.testing.assert_allclose(
        run_whole(fixed, calls)["y"], run_whole(whole, calls)["y"], atol=1e-6
    )


def test_a_number_of_steps_suits_all_models(tmp_path: Path) -> None:
    def session(time: int | str = "time", **what: bool) -> Session:
        return edgernn_runtimes.load(write_model(tmp_path / "m.onnx", time=time, **what))

    assert common_steps([session()], 200) == 200
    assert common_steps([session(), session(7)], 200) == 196
    assert common_steps([session(8), session(12)], 200) == 192
    assert common_steps([session(300)], 200) == 300
    assert common_steps([session(50, bidirectional=True), session()], 200) == 50


def test_a_model_without_a_time_axis_is_given_other_inputs_each_step() -> None:
    decoder = Decoder(seed=0, tokens=4, scale=1.0)
    assert without_time(decoder)
    assert not without_time(Encoder())
    calls = make_calls(decoder, 50, 1, seed=0, sizes={"source": 5})
    assert len(calls) == 50
    assert calls[DRAWS] is calls[0]
    assert {int(call["token"][0]) for call in calls[:DRAWS]} == {0, 1}
    assert len({call["memory"].tobytes() for call in calls}) == DRAWS
    logits = run_whole(decoder, calls)["logits"]
    assert logits.shape == (50, 1, 4)
    assert not np.array_equal(logits[0], logits[DRAWS])  # the state went on
    given = dict(calls[0])
    assert len({id(call) for call in make_calls(decoder, 50, 1, seed=0, given=given)}) == 1
