"""CTC decoding against every alignment there is."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.tasks.speech.ctc import beam, edits, greedy, log_softmax

SYMBOLS = 3


def read(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in groupby(path) if symbol < SYMBOLS)


def totals(logits: np.ndarray) -> dict[tuple[int, ...], float]:
    """Add up the probabilities of all paths of each sequence."""
    frames = np.exp(log_softmax(logits))
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(SYMBOLS + 1), repeat=len(frames)):
        share = float(np.prod([frame[symbol] for frame, symbol in zip(frames, path, strict=True)]))
        found[read(path)] = found.get(read(path), 0.0) + share
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.5, 2.0, 20.0]))
def test_a_wide_beam_finds_the_likeliest_sequence(frames: int, seed: int, sharpness: float) -> None:
    logits = sharpness * np.random.default_rng(seed).standard_normal((frames, SYMBOLS + 1))
    every = totals(logits)
    found = beam(logits, width=1000)
    assert np.isclose(every[found], max(every.values()), rtol=1e-3)


@given(st.lists(st.integers(0, SYMBOLS), min_size=1, max_size=12))
def test_sure_frames_are_read_alike_by_both(path: list[int]) -> None:
    logits = 40 * np.eye(SYMBOLS + 1)[path]
    assert greedy(logits) == beam(logits, 4) == read(tuple(path))


WORDS = st.lists(st.integers(0, 2), max_size=6).map(tuple)


@given(WORDS, WORDS, WORDS)
def test_edits_are_a_distance(a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...]) -> None:
    assert (edits(a, b) == 0) == (a == b)
    assert edits(a, b) == edits(b, a)
    assert edits(a, c) <= edits(a, b) + edits(b, c)
    assert abs(len(a) - len(b)) <= edits(a, b) <= max(len(a), len(b))
