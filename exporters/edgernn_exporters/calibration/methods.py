"""How a range is chosen from the values that were seen: minmax, percentile or mse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgernn.integer.ranges import is_constant, with_reach
from edgernn_exporters.calibration.statistics import RowStatistics

Doubles = NDArray[np.float64]
Limits = tuple[Doubles, Doubles]

TAIL = 1e-4
"""Share of the values that ``percentile`` leaves out at each end."""
_STEPS = 254  # of 8 bits, from -127 to 127
_LARGEST_TAIL, _CANDIDATES = 0.05, 32


def minmax(values: RowStatistics) -> Limits:
    """Return the least and the largest value of each channel."""
    return values.low.astype(np.float64), values.high.astype(np.float64)


def percentile(values: RowStatistics) -> Limits:
    """Return what `TAIL` of each channel's values lie below, and what as many lie above."""
    low, high = np.quantile(values.sample, (TAIL, 1 - TAIL), axis=0)
    return low, high


def mse(values: RowStatistics) -> Limits:
    """Return the limits of each channel with the least squared error at 8 bits.

    Values within the limits are off by a rounding, a twelfth of the squared step on average;
    those outside by their distance to the limit. The limits tried are values of the sample,
    denser towards its ends.
    """
    ordered = np.sort(values.sample.astype(np.float64), axis=0)
    count = len(ordered)
    last = max(int(count * _LARGEST_TAIL), 1)
    ranks = np.unique(np.geomspace(1, last, _CANDIDATES).astype(np.int64)) - 1
    low, high = ordered[ranks], ordered[count - 1 - ranks]  # [C, K]
    below, above = _squared_excess(ordered, ranks), _squared_excess(-ordered[::-1], ranks)
    step = (high[None] - low[:, None]) / _STEPS
    error = below[:, None] + above[None] + count * step**2 / 12
    best = error.reshape(-1, error.shape[-1]).argmin(axis=0)
    lowest, highest = np.unravel_index(best, error.shape[:2])
    channel = np.arange(ordered.shape[1])
    return low[lowest, channel], high[highest, channel]


METHODS: dict[str, Callable[[RowStatistics], Limits]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}


SAMPLED = ("percentile", "mse")
"""Methods that need a sample of the values, not only the limits."""


def choose(method: str, values: RowStatistics, *, symmetric: bool = False) -> Limits:
    """Return the limits ``low`` and ``high`` ``[K]`` of a layer's input.

    A channel that holds a value rarely keeps its whole range where the method would leave
    nothing of it. A constant channel gets a reach (see `edgernn.integer.ranges.with_reach`).

    Args:
        method: A key of `METHODS`.
        values: What was seen.
        symmetric: The limits are to be ``-high`` and ``high``.
    """
    (low, high), (least, largest) = METHODS[method](values), minmax(values)
    empty = is_constant(low, high)
    low, high = np.where(empty, least, low), np.where(empty, largest, high)
    if symmetric:
        high = np.maximum(np.abs(low), np.abs(high))
        high = np.where(high > 0, high, 1.0)
        return -high, high
    return with_reach(low, high)


def _squared_excess(ordered: Doubles, ranks: NDArray[np.int64]) -> Doubles:
    """Return, for each limit ``ordered[rank]``, the sum of squares of what lies below it."""
    tail = ordered[: ranks[-1] + 1] - ordered[0]  # small numbers, so that squares cancel little
    total, squares = np.cumsum(tail, axis=0), np.cumsum(tail**2, axis=0)
    limit, number = tail[ranks], (ranks + 1)[:, None]
    excess: Doubles = squares[ranks] - 2 * limit * total[ranks] + number * limit**2
    return excess
