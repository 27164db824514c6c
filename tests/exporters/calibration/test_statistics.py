from __future__ import annotations

import numpy as np
from helpers.graphs import normal
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.calibration import statistics
from edgernn_exporters.calibration.statistics import RowStatistics


@given(columns=st.integers(1, 5), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_limits_are_exact_and_few_rows_are_all_kept(columns: int, sizes: list[int]) -> None:
    rows = normal(len(sizes), sum(sizes) + 1, columns)
    kept = RowStatistics(columns)
    for block in np.split(rows, np.cumsum(sizes)):
        kept.add(block)
    assert kept.rows == len(rows)
    np.testing.assert_array_equal(kept.low, rows.min(axis=0))
    np.testing.assert_array_equal(kept.high, rows.max(axis=0))
    np.testing.assert_array_equal(kept.sample, rows)


def test_the_sample_is_bounded_even_and_independent_of_the_blocks() -> None:
    columns = statistics._SAMPLE_VALUES // statistics._FEWEST_ROWS  # the fewest rows
    numbers = np.arange(40_000, dtype=np.float32)
    rows = np.broadcast_to(numbers[:, None], (len(numbers), columns))
    whole, pieces = RowStatistics(columns), RowStatistics(columns)
    whole.add(rows)
    for start in range(0, len(rows), 777):
        pieces.add(rows[start : start + 777])
    np.testing.assert_array_equal(whole.sample, pieces.sample)
    chosen = whole.sample[:, 0]
    assert len(chosen) == statistics._FEWEST_ROWS == len(np.unique(chosen))
    share = np.histogram(chosen, 8, (0, len(numbers)))[0] / len(chosen)
    np.testing.assert_allclose(share, 1 / 8, atol=0.03)
