from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.mini_projects import START, leaky, many

from edgernn.errors import ContractError, InputError, UsageError
from edgernn.sessions import Emulated, Session, Stream
from edgernn.streaming import run_in_chunks
from edgernn_runtimes.emulated.boards import BOARDS
from edgernn_runtimes.emulated.machine import RUN, STEP
from edgernn_runtimes.emulated.session import EmulatedSession

X = normal(1, 3, 7, 2)


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_runs_steps_resets_and_counts(opened: Any, board: str) -> None:
    session = opened("leaky", board)
    assert isinstance(session, Session)
    assert isinstance(session, Emulated)
    assert session.target == board
    want = leaky(X)
    np.testing.assert_array_equal(session.run({"x": X})["y"], want)
    stream = session.stream(3)
    assert isinstance(stream, Stream)
    for step in range(7):
        y = stream.step(X[:, step : step + 1])
        np.testing.assert_array_equal(y, want[:, step : step + 1])
    stream.reset()
    np.testing.assert_array_equal(stream.state["h"], np.broadcast_to(START, (1, 3, 2)))
    np.testing.assert_array_equal(stream.step(X[:, :4]), want[:, :4])

    counted = session.measure(20)
    assert counted == session.measure(20)
    assert counted.calls == 1
    assert 10 < counted.instructions_per_step < 2000  # riscv32 computes floats in software
    assert counted.instructions_per_mac == counted.instructions_per_step / 2
    assert 400 < counted.peak_stack_bytes < 700
    assert 100 < counted.flash_bytes < 2000 < counted.image_flash_bytes
    assert counted.static_ram_bytes == 8 < counted.image_ram_bytes


@pytest.mark.parametrize("board", ["cortex-m4", "aarch64"])
def test_several_tensors_of_all_kinds(opened: Any, board: str) -> None:
    session = opened("many", board)
    a = np.round(normal(2, 6, 3, 2, scale=8))
    ids = np.random.default_rng(0).integers(-9, 9, (3, 6))
    want = many(a, ids)
    given = {"ids": ids, "a": np.asfortranarray(a)}
    for got in (session.run(given), run_in_chunks(session, given, 4),
                run_in_chunks(session, given, 1)):  # fmt: skip
        assert list(got) == list(want)
        for name, value in want.items():
            assert got[name].flags.writeable
            assert got[name].dtype == value.dtype
            np.testing.assert_array_equal(got[name], value)
    stream = session.stream(3)
    stream.step(given)
    np.testing.assert_array_equal(stream.state["h"], a.sum(axis=0))
    np.testing.assert_array_equal(stream.state["n"], np.full((1, 3), 6, np.int32))
    saved = stream.state
    saved["n"][0, 1] = 100
    stream.state = saved
    assert list(stream.step(given)["count"]) == [12, 106, 12]
    with pytest.raises(InputError, match=r"takes inputs \['a', 'ids'\]: give a dict"):
        stream.step(a)
    with pytest.raises(InputError, match="disagree on the size of the time axis"):
        session.run({"a": a, "ids": ids[:, :4]})


def test_a_long_sequence_is_cut_into_requests(opened: Any) -> None:
    session, x = opened("leaky"), normal(3, 1, 10_001, 2)
    assert 1000 < session.served.program.plan.block < 10_001
    np.testing.assert_array_equal(session.run({"x": x})["y"], leaky(x))
    assert session.measure(inputs={"x": x}).calls == 3


def test_models_that_are_not_causal_run_whole(opened: Any) -> None:
    session = opened("whole")
    for length in (1, 8, 64, 65, 300):  # the last two need programs of their own
        x = np.round(normal(4, 2, length, 2, scale=4))
        got = session.run({"x": x})["y"]
        np.testing.assert_array_equal(got, x + x.sum(axis=1, keepdims=True))
    assert session.measure(70).calls == 1
    with pytest.raises(ContractError, match=r"not causal.*run whole sequences"):
        session.stream()
    with pytest.raises(UsageError, match="has no step form; measure with call='run'"):
        session.measure(2, call="step")


def test_a_program_for_exactly_one_length_is_built_again_for_another(opened: Any) -> None:
    session = opened("exact")
    for length in (3, 64, 5):
        x = np.round(normal(4, 1, length, 2, scale=4))
        got = session.run({"x": x})["y"]
        np.testing.assert_array_equal(got, x + x.sum(axis=1, keepdims=True))


def test_a_fixed_batch_runs_at_once(opened: Any) -> None:
    session = opened("pair")
    x = np.round(normal(5, 2, 4, 2, scale=4))
    want = np.cumsum(x, axis=1) + x[::-1]
    np.testing.assert_array_equal(session.run({"x": x})["y"], want)
    stream = session.stream(2)
    np.testing.assert_array_equal(stream.step(x[:, :3]), want[:, :3])
    saved = stream.state
    np.testing.assert_array_equal(saved["h"], x[:, :3].sum(axis=1))
    stream.step(x)
    stream.state = saved
    np.testing.assert_array_equal(stream.step(x[:, 3:]), want[:, 3:])
    with pytest.raises(InputError, match="a fixed batch of 2; open a stream of that batch"):
        session.stream()


def test_a_model_without_time_and_one_without_contract(opened: Any) -> None:
    x = np.round(normal(6, 4, 3, scale=4))
    want = np.stack([x[:, 0] + x[:, 1], x[:, 1] * x[:, 2]], axis=1)
    session = opened("dense")
    np.testing.assert_array_equal(session.run({"x": x})["y"], want)
    assert session.measure(1).calls == 1
    plain = opened("leaky", contract=False)
    assert plain.states == ()
    np.testing.assert_array_equal(plain.run({"x": X})["y"], leaky(X))
    with pytest.raises(ContractError, match=r"no state contract.*edgernn export"):
        plain.stream()


def test_streams_are_isolated_and_state_moves_between_them(opened: Any) -> None:
    session, other = opened("leaky"), opened("leaky", "riscv32")
    first, second = session.stream(), session.stream(2)
    first.step(X[:1, :3])
    second.step(X[1:, :5])
    session.run({"x": X})
    np.testing.assert_array_equal(first.step(X[:1, 3:]), leaky(X)[:1, 3:])
    np.testing.assert_array_equal(second.step(X[1:, 5:]), leaky(X)[1:, 5:])
    first.reset()
    first.step(X[:1, :4])
    elsewhere = other.stream()
    elsewhere.state = first.state
    first.step(X[2:])
    np.testing.assert_array_equal(elsewhere.step(X[:1, 4:]), leaky(X)[:1, 4:])


def test_run_and_streams_are_safe_from_several_threads(opened: Any) -> None:
    session = opened("leaky")
    wrong: list[int] = []

    def work(seed: int) -> None:
        x = normal(seed, 2, 9, 2)
        for _ in range(10):
            stream = session.stream(2)
            y = np.concatenate([stream.step(x[:, :4]), stream.step(x[:, 4:])], axis=1)
            if not (y == leaky(x)).all() or not (session.run({"x": x})["y"] == leaky(x)).all():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"z": X}, r"takes inputs \['x'\], but \['z'\]"),
    "dtype": ({"x": X.astype(np.float64)}, r"got dtype float64; convert"),
    "rank": ({"x": X[0]}, r"expected x float32 \[batch, time, 2\], got shape \[7, 2\]"),
    "size": ({"x": X[..., :1]}, r"got shape \[3, 7, 1\]"),
    "no time": ({"x": X[:, :0]}, "empty array"),
    "nan": ({"x": np.where(X[1, 2, 1] == X, np.float32(np.nan), X)}, r"nan at index \[1, 2, 1\]"),
    "inf": ({"x": np.where(X[0, 0, 0] == X, np.float32(np.inf), X)}, r"inf at index"),
    "rows": ({"x": X[:2]}, "opened for a batch of 3, but 2 rows were given"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_leaves_the_state(opened: Any, case: str) -> None:
    session, (given, expected) = opened("leaky"), BAD[case]
    stream = session.stream(3)
    stream.step(X)
    before = stream.state["h"]
    with pytest.raises(InputError, match=expected) as caught:
        stream.step(given)
    assert caught.value.exit_code == 3
    if case != "rows":
        with pytest.raises(InputError, match=expected):
            session.run(given)
    np.testing.assert_array_equal(stream.state["h"], before)


def test_the_program_refuses_nan_by_itself(opened: Any) -> None:
    for board in ("cortex-m4", "cortex-m55", "riscv32", "armv7"):
        served = opened("leaky", board).served
        bad = {"x": np.full((1, 1, 2), np.nan, np.float32)}
        for command in (RUN, STEP):
            with pytest.raises(InputError, match="the program found a NaN or infinity"):
                served.advance(bad, 0, served.first_state, command)


def test_an_overflowing_state_is_not_taken_over(opened: Any) -> None:
    stream = opened("leaky").stream()
    huge = np.full((1, 1, 2), 3e38, np.float32)
    stream.step(huge)
    before = stream.state["h"]
    with pytest.raises(InputError, match="so large that state h overflows; the stream keeps"):
        stream.step(np.repeat(huge, 5, axis=1))
    np.testing.assert_array_equal(stream.state["h"], before)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"g": START}, r"the states are \['h'\], got \['g'\]"),
        (START, "got ndarray"),
        ({"h": np.zeros((1, 2, 2), np.float32)}, r"has shape \[1, 1, 2\], got \[1, 2, 2\]"),
        ({"h": np.zeros((1, 1, 2))}, "got dtype float64"),
        ({"h": np.full((1, 1, 2), np.nan, np.float32)}, "nan at index"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(opened: Any, value: Any, expected: str) -> None:
    stream = opened("leaky").stream()
    with pytest.raises(InputError, match=expected):
        stream.state = value
    np.testing.assert_array_equal(stream.state["h"][0, 0], START)


def test_a_closed_session_refuses_everything(opened: Any) -> None:
    session: EmulatedSession = opened("leaky", fresh=True)
    stream = session.stream()
    session.close()
    session.close()
    for use in (lambda: session.run({"x": X}), session.stream, lambda: stream.step(X[:1]),
                stream.reset, lambda: session.measure(1)):  # fmt: skip
        with pytest.raises(UsageError, match="was closed; load the model again"):
            use()
    assert stream.state["h"].shape == (1, 1, 2)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_below_one_is_refused(opened: Any, batch: int) -> None:
    with pytest.raises(InputError, match="batch must be at least 1"):
        opened("leaky").stream(batch)
