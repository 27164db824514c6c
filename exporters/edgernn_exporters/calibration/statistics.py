"""What is kept of the values that go into a layer: exact limits, and a sample of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SAMPLE_VALUES = 2**21  # 8 MB for each layer's input
_FEWEST_ROWS, _MOST_ROWS = 4096, 2**18


class RowStatistics:
    """Collect rows ``[M, K]``: least and largest value of each column, and a uniform sample.

    The sample (Vitter's algorithm R) is the same for the same rows, however they are cut into
    blocks, and its size does not grow with their number.

    Args:
        columns: K.
        sampled: Whether to keep a sample; without, it is empty.
        seed: Of the sample.

    Attributes:
        rows: How many were added.
        low: ``[K]``.
        high: ``[K]``.
    """

    def __init__(self, columns: int, *, sampled: bool = True, seed: int = 0) -> None:
        self.rows = 0
        self.low = np.full(columns, np.inf, np.float32)
        self.high = np.full(columns, -np.inf, np.float32)
        capacity = int(np.clip(_SAMPLE_VALUES // columns, _FEWEST_ROWS, _MOST_ROWS))
        self._capacity = capacity if sampled else 0
        self._sample = np.empty((self._capacity, columns), np.float32)
        self._rng = np.random.default_rng(seed)

    def add(self, rows: Floats) -> None:
        """Take in rows ``[M, K]``, which are finite."""
        if not len(rows):
            return
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)
        self._keep(rows)
        self.rows += len(rows)

    def _keep(self, rows: Floats) -> None:
        if not self._capacity:
            return
        first = rows[: max(self._capacity - self.rows, 0)]
        self._sample[self.rows : self.rows + len(first)] = first
        later = rows[len(first) :]
        numbers = np.arange(self.rows + len(first), self.rows + len(rows))
        place = np.floor(self._rng.random(len(later)) * (numbers + 1)).astype(np.int64)
        chosen = place < self._capacity
        self._sample[place[chosen]] = later[chosen]

    @property
    def sample(self) -> Floats:
        """Rows chosen evenly among all ``[S, K]``; all of them as long as they are few."""
        return self._sample[: min(self.rows, self._capacity)]
