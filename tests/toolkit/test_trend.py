from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn.trend import FEWEST, judge, kpss, theil_sen

Series = NDArray[np.float64]


def autoregressive(seed: int, share: float, count: int = 180) -> Series:
    """Vary about 1 by 15 %, with the autocorrelation ``share`` from one value to the next."""
    noise = np.random.default_rng(seed).standard_normal(count + 200)
    values = np.zeros(count + 200)
    for index in range(1, count + 200):
        values[index] = share * values[index - 1] + noise[index] * np.sqrt(1 - share**2)
    return np.maximum(1 + 0.15 * values[200:], 0)


def random_walk(seed: int, channels: int) -> Series:
    """Return the RMS over channels of random walks, in windows of 100 steps."""
    noise = np.random.default_rng(seed).standard_normal((20_000, channels))
    squares = np.square(np.cumsum(noise, axis=0)).reshape(200, 100, channels)
    rms: Series = np.sqrt(squares.mean(axis=(1, 2)))[20:]
    return rms


def share_of_growing(series: list[Series]) -> float:
    return float(np.mean([judge(item, scale=1.0).growing for item in series]))


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.02), (0.5, 0.02), (0.8, 0.03),
                                                   (0.9, 0.06)])  # fmt: skip
def test_bounded_series_are_rarely_called_growing(correlation: float, most: float) -> None:
    assert share_of_growing([autoregressive(seed, correlation) for seed in range(150)]) <= most
    for count in (FEWEST, 60):
        short = [autoregressive(seed, correlation, count) for seed in range(150)]
        assert share_of_growing(short) <= most


@pytest.mark.parametrize(("channels", "least"), [(1, 0.3), (10, 0.85), (64, 1.0)])
def test_random_walks_are_called_growing(channels: int, least: float) -> None:
    """A single walk may come back, so it cannot always be told from a slow bounded change."""
    assert share_of_growing([random_walk(seed, channels) for seed in range(60)]) >= least


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_a_trend_of_half_the_level_is_called_growing(correlation: float) -> None:
    rise = np.linspace(0, 0.5, 180)
    series = [autoregressive(seed, correlation) + rise for seed in range(60)]
    assert share_of_growing(series) >= 0.9
    assert share_of_growing([item[::-1] for item in series]) == 0


@given(level=st.floats(1e-9, 1e3), count=st.integers(FEWEST, 300))
def test_a_constant_series_is_bounded(level: float, count: int) -> None:
    trend = judge(np.full(count, level), scale=1.0)
    assert (trend.growing, trend.growth, trend.statistic) == (False, 0, 0)
    assert trend.level == level
    assert judge(np.zeros(count), scale=0.0).growing is False


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 20))
def test_the_judgement_does_not_depend_on_the_unit(scale: float, seed: int) -> None:
    series = random_walk(seed, 4)
    one, other = judge(series, 1.0), judge(series * scale, scale)
    assert one.growing == other.growing
    np.testing.assert_allclose(
        (other.growth, other.statistic), (one.growth, one.statistic), rtol=1e-6
    )


def test_rounding_and_small_rises_are_not_material() -> None:
    rise = np.linspace(1, 3, 180)
    assert judge(rise, scale=1.0).growing
    assert not judge(rise * 1e-7, scale=1.0).growing
    small = judge(np.linspace(1, 1.05, 180), scale=1.0)
    assert not small.growing
    assert small.statistic > 0.739
    assert small.growth == pytest.approx(0.05, rel=0.05)


def test_outliers_do_not_make_a_trend() -> None:
    series = np.ones(100)
    series[-5:] = 1000
    assert theil_sen(series) == 0
    assert not judge(series, 1.0).growing


@pytest.mark.parametrize("series", [
    [0.01] * 80 + [1.0] * 20,
    [0.01] * 88 + [1.0] * 12,
    [0.0] * 60 + list(np.linspace(0, 1, 40)),
    [0.0] * 85 + [1e-3] * 15,
])  # fmt: skip
def test_what_goes_wrong_late_is_called_growing(series: list[float]) -> None:
    trend = judge(series, 1.0)
    assert trend.growing
    assert trend.last > 2 * trend.first
    assert not judge(series[::-1], 1.0).growing
    assert not judge(np.array(series) * 1e-6, 1.0).growing  # rounding of float32


def test_the_kpss_statistic_of_a_series_worked_out_by_hand() -> None:
    assert kpss(np.array([0.0, 0, 1, 1])) == pytest.approx(kpss_by_definition([0, 0, 1, 1]))
    values = list(np.random.default_rng(1).standard_normal(50))
    assert kpss(np.array(values)) == pytest.approx(kpss_by_definition(values))


def kpss_by_definition(values: list[float]) -> float:
    count, mean = len(values), sum(values) / len(values)
    rest = [value - mean for value in values]
    lags = int(12 * (count / 100) ** 0.25)
    long_run = sum(value**2 for value in rest) / count
    for lag in range(1, lags + 1):
        covariance = sum(a * b for a, b in zip(rest[lag:], rest, strict=False)) / count
        long_run += 2 * (1 - lag / (lags + 1)) * covariance
    return sum(sum(rest[: t + 1]) ** 2 for t in range(count)) / count**2 / long_run


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 values, got 19"):
        judge(np.ones(19), 1.0)
