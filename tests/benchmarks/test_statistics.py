from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_benchmarks.statistics import (
    compare_turns,
    drift,
    percentile,
    sign_test_interval,
    summarize,
)

SAMPLES = st.lists(st.integers(1, 10**9), min_size=1, max_size=300)


@given(SAMPLES, st.floats(0.001, 100))
def test_percentile_is_the_smallest_sample_with_enough_below(samples: list[int], q: float) -> None:
    found = percentile(samples, q)
    ordered = sorted(samples)
    assert found in samples
    assert found == np.percentile(samples, q, method="inverted_cdf")
    assert sum(s <= found for s in samples) >= q / 100 * len(samples) * (1 - 1e-9)
    smaller = [s for s in ordered if s < found]
    assert len(smaller) < q / 100 * len(samples) * (1 + 1e-9)


@given(SAMPLES, st.integers(1, 50), st.integers(1, 8))
def test_summary_agrees_with_numpy(samples: list[int], steps: int, batch: int) -> None:
    summary = summarize(samples, steps=steps, batch=batch, frame_rate_hz=100.0)
    array = np.array(samples)
    budget_ns = steps * 1e7
    assert summary.mean_us == pytest.approx(array.mean() / 1e3)
    assert summary.p50_us <= summary.p90_us <= summary.p99_us <= summary.p999_us
    assert summary.p999_us * 1e3 <= array.max() * (1 + 1e-12)
    rate = steps * batch * len(samples) / (array.sum() / 1e9)
    assert summary.throughput_steps_per_s == pytest.approx(rate)
    assert summary.real_time_factor == pytest.approx(array.mean() / budget_ns)
    assert summary.deadline_misses == np.mean(array > budget_ns)


def test_small_example() -> None:
    summary = summarize([1000, 2000, 3000, 4000, 100_000], steps=1, batch=1, frame_rate_hz=20_000)
    assert (summary.p50_us, summary.p90_us, summary.mad_us) == (3.0, 100.0, 1.0)
    assert summary.deadline_misses == 0.2
    assert summary.real_time_factor == pytest.approx(22 / 50)


def test_no_frame_rate_no_deadline() -> None:
    summary = summarize([5], steps=1, batch=1)
    assert summary.real_time_factor is None
    assert summary.deadline_misses is None


@pytest.mark.parametrize(("count", "cut"), [(5, None), (6, 0), (8, 0), (9, 1), (20, 5), (100, 39)])
def test_interval_is_the_exact_sign_test(count: int, cut: int | None) -> None:
    ordered = np.arange(count, dtype=np.float64)
    expected = (None, None) if cut is None else (cut, count - 1 - cut)
    assert sign_test_interval(ordered) == expected
    if cut is not None:  # the definition: both tails together at most 5 %, and cut is the largest

        def tails(k: int) -> float:
            return 2 * sum(math.comb(count, i) for i in range(k + 1)) / 2**count

        assert tails(cut) <= 0.05 < tails(cut + 1)


def test_interval_of_many_values_does_not_overflow() -> None:
    low, high = sign_test_interval(np.arange(5000.0))
    assert low is not None
    assert high is not None
    assert 2400 < low < 2500 < high < 2600


def turns_of(
    rng: np.random.Generator, level: float, rounds: int = 40
) -> tuple[list[int], list[int]]:
    samples = (level * rng.lognormal(0, 0.15, rounds * 10)).astype(int)
    return samples.tolist(), [10] * rounds


def test_a_real_difference_is_found_and_signed() -> None:
    rng = np.random.default_rng(0)
    slow, turns = turns_of(rng, 20_000)
    fast, _ = turns_of(rng, 10_000)
    ratio = compare_turns(slow, turns, fast, turns)
    assert ratio.verdict == "faster"
    assert ratio.ratio == pytest.approx(0.5, rel=0.05)
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low <= ratio.ratio <= ratio.high
    assert compare_turns(fast, turns, slow, turns).verdict == "slower"


def test_no_verdict_inside_the_noise_band_or_on_few_rounds() -> None:
    rng = np.random.default_rng(1)
    one, turns = turns_of(rng, 10_000, 200)
    same = [round(value * 1.01) for value in one]  # certain, but too small to be claimed
    assert compare_turns(one, turns, same, turns).verdict == "no difference shown"
    few = compare_turns([10] * 5, [1] * 5, [20] * 5, [1] * 5)
    assert (few.low, few.verdict) == (None, "no difference shown")


def test_false_verdicts_are_rare() -> None:
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(100):
        (one, turns), (other, _) = turns_of(rng, 10_000), turns_of(rng, 10_000)
        claims += compare_turns(one, turns, other, turns).verdict != "no difference shown"
    assert claims <= 10


def test_common_drift_does_not_make_a_difference() -> None:
    rng = np.random.default_rng(3)
    speeds = np.repeat(np.linspace(1, 3, 40), 10)
    one = (speeds * 10_000 * rng.lognormal(0, 0.01, 400)).astype(int)
    other = (speeds * 10_500 * rng.lognormal(0, 0.01, 400)).astype(int)
    ratio = compare_turns(one, [10] * 40, other, [10] * 40)
    assert ratio.ratio == pytest.approx(1.05, rel=0.01)
    assert ratio.verdict == "slower"


def test_drift() -> None:
    assert drift([10] * 29) is None
    assert drift([10] * 30 + [20] * 30 + [20] * 30) == 2.0
