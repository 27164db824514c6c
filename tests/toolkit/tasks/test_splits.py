from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.tasks.base import PADDING
from edgernn.tasks.splits import SequenceSplit, SeriesSplit, buckets

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def sequences(lengths: list[int]) -> SequenceSplit:
    """Make rows that hold their own number, with a class for each step."""
    rows = [np.full((length, 2), number, np.float32) for number, length in enumerate(lengths)]
    return SequenceSplit(rows, [np.full(len(row), int(row[0, 0]), np.int64) for row in rows])


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 8), st.integers(0, 5))
def test_an_epoch_takes_each_sequence_once_with_its_targets(
    lengths: list[int], batch_size: int, epoch: int
) -> None:
    seen = []
    for batch in sequences(lengths).epoch(epoch, seed=1, batch_size=batch_size):
        assert batch.x.shape[1] == batch.lengths.max()
        for x, length, targets in zip(batch.x, batch.lengths, batch.targets, strict=True):
            number = int(x[0, 0])
            assert length == lengths[number]
            assert (x[:length] == number).all()
            assert not x[length:].any()
            assert (targets[:length] == number).all()
            assert (targets[length:] == PADDING).all()
            seen.append(number)
    assert sorted(seen) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 8))
def test_batches_to_measure_have_one_length(lengths: list[int], batch_size: int) -> None:
    seen = []
    for batch in sequences(lengths).batches(batch_size):
        assert set(batch.lengths) == {batch.x.shape[1]}
        seen += [int(x[0, 0]) for x in batch.x]
    assert sorted(seen) == list(range(len(lengths)))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(2, 60), context=st.integers(0, 10), piece=st.integers(1, 20),
    rows=st.integers(1, 4),
)  # fmt: skip
def test_each_step_of_a_series_is_measured_once_behind_its_context(
    steps: int, context: int, piece: int, rows: int
) -> None:
    count = np.arange(context + steps)
    split = SeriesSplit(count, count + 1, context, window=2, stride=1, piece=piece)
    assert len(split) == steps
    measured = []
    for batch in split.batches(rows):
        assert len(batch.x) <= rows
        for x, targets in zip(batch.x, batch.targets, strict=True):
            assert len(x) == context + len(targets)
            assert (np.diff(x) == 1).all()
            assert (targets == x[context:] + 1).all()
            measured += list(targets - 1)
    assert measured == list(range(context, context + steps))


@given(st.integers(5, 80), st.integers(2, 5), st.integers(1, 5), st.integers(0, 9))
def test_windows_to_train_on_lie_in_the_series(
    steps: int, window: int, stride: int, epoch: int
) -> None:
    count = np.arange(steps)
    split = SeriesSplit(count, count + 1, 0, window, stride, piece=5)
    starts = []
    for batch in split.epoch(epoch, seed=0, batch_size=4):
        assert batch.x.shape[1] == window
        assert (batch.targets == batch.x + 1).all()
        starts += list(batch.x[:, 0])
    starts.sort()
    assert starts[0] < stride
    assert set(np.diff(starts)) <= {stride}
    assert starts[-1] > steps - window - stride


def test_buckets_hold_rows_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 800)
    spread = [np.ptp(lengths[rows]) for rows in buckets(lengths, np.random.default_rng(1), 10)]
    assert np.mean(spread) < 25  # of 99
