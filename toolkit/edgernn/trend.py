"""Tell whether a series of errors stays about one level or grows.

A series is called growing if one of two changes is seen. The first is one over the whole series
that is

- significant: the KPSS test rejects at 1 % that the series is stationary about one level
  (Kwiatkowski, Phillips, Schmidt and Shin, "Testing the null hypothesis of stationarity", 1992).
  It rejects trends and random walks alike. The long-run variance it divides by counts
  autocorrelation up to a lag of 12 (n/100)^(1/4), so that slow but bounded changes do not reject;
- material: the robust trend (Theil-Sen, the median of the slopes of all pairs) rises over the
  whole series by more than a tenth of the series' median, and that median is more than rounding
  of float32.

The second is a late one, which the median of the slopes passes over and KPSS takes for noise: the
median of the last fifth of the series is more than twice that of the first fifth. Where the first
is nearly zero, what counts as rounding stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

KPSS_LIMIT = 0.739
"""Critical value of the KPSS statistic at 1 %, for a level."""
LEAST_GROWTH = 0.1
LATE_GROWTH = 2.0
"""The last fifth of a series that is more than this many times the first is a late growth."""
ROUNDING = 1e-6
"""Errors below this, relative to the values themselves, are rounding of float32."""
FEWEST = 20


@dataclass(frozen=True)
class Trend:
    """Judge a series of errors.

    Attributes:
        growing: Whether the series grows; else it is bounded.
        level: Median of the series.
        growth: Rise of the robust trend from the first to the last value, over the median.
        statistic: Of the KPSS test; above `KPSS_LIMIT` it is significant.
        first: Median of the first fifth.
        last: Median of the last fifth.
    """

    growing: bool
    level: float
    growth: float
    statistic: float
    first: float
    last: float


def judge(errors: ArrayLike, scale: float) -> Trend:
    """Judge a series of errors, without its transient at the start.

    Args:
        errors: At least `FEWEST` magnitudes, equally spaced in time.
        scale: Size of the values that are off by the errors.

    Example:
        >>> judge([0.1] * 100, scale=1.0).growing
        False
    """
    series = np.asarray(errors, np.float64)
    if len(series) < FEWEST:
        raise ValueError(f"a trend needs at least {FEWEST} values, got {len(series)}")
    level = float(np.median(series))
    rise = theil_sen(series) * (len(series) - 1)
    growth = rise / level if level > 0 else 0.0
    statistic = kpss(series)
    fifth = len(series) // 5
    first, last = float(np.median(series[:fifth])), float(np.median(series[-fifth:]))
    rounding = ROUNDING * scale
    throughout = growth > LEAST_GROWTH and level > rounding and statistic > KPSS_LIMIT
    late = last > LATE_GROWTH * max(first, rounding)
    return Trend(throughout or late, level, float(growth), statistic, first, last)


def theil_sen(series: NDArray[np.float64]) -> float:
    """Return the median of the slopes of all pairs of values."""
    first, second = np.triu_indices(len(series), 1)
    return float(np.median((series[second] - series[first]) / (second - first)))


def kpss(series: NDArray[np.float64]) -> float:
    """Return the KPSS statistic for stationarity about a level; 0 for a constant series."""
    count = len(series)
    residuals = series - series.mean()
    if np.abs(residuals).max() <= 1e-12 * np.abs(series).max():
        return 0.0
    lags = int(12 * (count / 100) ** 0.25)
    variance = residuals @ residuals
    for lag in range(1, lags + 1):  # Bartlett weights, as Newey and West
        variance += 2 * (1 - lag / (lags + 1)) * (residuals[lag:] @ residuals[:-lag])
    sums = np.cumsum(residuals)
    return float(sums @ sums / (count * variance))
