"""The searches themselves, against all sequences that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.toy_pairs import LINK, UNITS, Decoder, toy_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.decoding import Hypothesis, beam, greedy
from edgernn.errors import ModelError, UsageError

SEEDS = st.integers(0, 10_000)
PENALTY = st.sampled_from([0.0, 0.6, 1.0])


def source(seed: int, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    x = np.random.default_rng(seed).standard_normal((rows, 5, UNITS))
    return {"x": x.astype(np.float32)}


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    below: np.ndarray[Any, Any] = logits - logits.max()
    return below - np.log(np.exp(below).sum())


def every_sequence(
    decoder: Decoder, x: np.ndarray[Any, Any], max_steps: int, penalty: float
) -> list[Hypothesis]:
    """Score all sequences that end, or are cut off after ``max_steps``."""
    memory = x[None]
    found = []

    def follow(tokens: tuple[int, ...], total: float, h: np.ndarray[Any, Any]) -> None:
        if len(tokens) == max_steps:
            found.append(Hypothesis(tokens, total, total / len(tokens) ** penalty, False))
            return
        last = np.array([tokens[-1] if tokens else 0])
        logits, after = decoder.cell(last, memory, h)
        for token, value in enumerate(log_softmax(logits[0])):
            here = total + float(value)
            if token == 1:
                found.append(Hypothesis(tokens, here, here / (len(tokens) + 1) ** penalty, True))
            else:
                follow((*tokens, token), here, after)

    follow((), 0.0, x.mean(axis=0, dtype=np.float32)[None].astype(np.float64))
    return sorted(found, key=lambda item: -item.score)


def assert_alike(got: list[Hypothesis], want: list[Hypothesis]) -> None:
    assert [(item.tokens, item.ended) for item in got] == [
        (item.tokens, item.ended) for item in want
    ]
    for name in ("log_probability", "score"):
        np.testing.assert_allclose([getattr(item, name) for item in got],
                                   [getattr(item, name) for item in want], rtol=1e-5)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 4), st.integers(1, 4), st.integers(1, 3), PENALTY)
def test_a_beam_of_all_sequences_finds_the_best_of_all(
    seed: int, tokens: int, max_steps: int, rows: int, penalty: float
) -> None:
    pair, decoder = toy_pair(seed, tokens)
    inputs = source(seed, rows)
    count = sum((tokens - 1) ** n for n in range(max_steps)) + (tokens - 1) ** max_steps
    got = beam(pair, inputs, width=count, max_steps=max_steps, length_penalty=penalty)
    for row in range(rows):
        want = every_sequence(decoder, inputs["x"][row], max_steps, penalty)
        assert len(want) == count
        assert_alike(got[row], want)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 9), st.integers(1, 12), st.integers(1, 4), PENALTY)
def test_a_beam_of_one_is_greedy(
    seed: int, tokens: int, max_steps: int, rows: int, penalty: float
) -> None:
    pair, _ = toy_pair(seed, tokens)
    inputs = source(seed, rows)
    single = beam(pair, inputs, width=1, max_steps=max_steps, length_penalty=penalty)
    for (found,), expected in zip(single, greedy(pair, inputs, max_steps=max_steps), strict=True):
        assert (found.tokens, found.ended) == (expected.tokens, expected.ended)
        assert found.log_probability == pytest.approx(expected.log_probability)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 6), st.integers(1, 8), PENALTY)
def test_sequences_have_the_probability_that_they_claim(
    seed: int, width: int, max_steps: int, penalty: float
) -> None:
    pair, decoder = toy_pair(seed, 6)
    inputs = source(seed, 2)
    for x, found in zip(
        inputs["x"],
        beam(pair, inputs, width=width, max_steps=max_steps, length_penalty=penalty),
        strict=True,
    ):
        assert 1 <= len(found) <= width
        assert len({(item.tokens, item.ended) for item in found}) == len(found)
        assert [item.score for item in found] == sorted((i.score for i in found), reverse=True)
        for item in found:
            h, last, total = x.mean(axis=0)[None], 0, 0.0
            sequence = [*item.tokens, *([1] if item.ended else [])]
            assert len(sequence) <= max_steps
            assert item.ended or len(sequence) == max_steps
            for token in sequence:
                logits, h = decoder.cell(np.array([last]), x[None], h)
                total += float(log_softmax(logits[0])[token])
                last = token
            assert item.log_probability == pytest.approx(total, rel=1e-5)
            assert item.score == pytest.approx(total / len(sequence) ** penalty, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 5))
def test_rows_do_not_see_each_other(seed: int, width: int) -> None:
    pair, _ = toy_pair(seed, 6)
    inputs = source(seed, 3)
    together = beam(pair, inputs, width=width, max_steps=6)
    for row, found in enumerate(together):
        (alone,) = beam(pair, {"x": inputs["x"][row : row + 1]}, width=width, max_steps=6)
        assert_alike(found, alone)


def test_greedy_stops_when_all_rows_have_ended_and_runs_one_stream() -> None:
    pair, decoder = toy_pair(27, 3)
    found = greedy(pair, source(1, 6), max_steps=400)
    assert {item.ended for item in found} == {True}
    assert len({len(item.tokens) for item in found}) > 1
    assert decoder.batches == [6]
    beam(pair, source(1, 6), width=5, max_steps=2)
    assert decoder.batches == [6, 30]


def test_equal_tokens_are_taken_in_order() -> None:
    pair, decoder = toy_pair(0, 5)
    decoder.head[:] = 0.0
    assert greedy(pair, source(0, 1), max_steps=3)[0].tokens == (0, 0, 0)
    ((first, second, *_),) = beam(pair, source(0, 1), width=4, max_steps=1)
    assert (first.tokens, first.ended, second.tokens) == ((), True, (0,))


def test_masked_tokens_are_never_chosen_and_no_choice_is_an_error() -> None:
    pair, decoder = toy_pair(0, 3)
    cell = decoder.cell

    def masked(*arguments: Any) -> Any:
        logits, h = cell(*arguments)
        logits[:, 1:] = -np.inf
        return logits, h

    decoder.cell = masked  # type: ignore[method-assign]
    ((only,),) = beam(pair, source(0, 1), width=3, max_steps=4)
    assert (only.tokens, only.ended) == ((0, 0, 0, 0), False)
    decoder.head[:] = np.nan
    with pytest.raises(ModelError, match="'logits' are NaN or infinite"):
        greedy(pair, source(0, 1), max_steps=4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"width": 0, "max_steps": 3}, "width must be at least 1, got 0"),
     ({"width": 2, "max_steps": 0}, "max_steps must be at least 1, got 0")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, int], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        beam(toy_pair()[0], source(0, 1), **options)


def test_without_a_first_token_there_is_nothing_to_begin_with() -> None:
    pair, _ = toy_pair(link=replace(LINK, start=None, end=None))
    with pytest.raises(UsageError, match="names no token to begin with"):
        greedy(pair, source(0, 1), max_steps=3)
    (found,) = greedy(pair, source(0, 1), max_steps=3, start=2)
    assert len(found.tokens) == 3  # and nothing ends it
