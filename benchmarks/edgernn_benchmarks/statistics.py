"""Statistics of latency samples, and the honest comparison of two rows.

Percentiles are nearest-rank: the smallest sample that at least q % of all samples do not exceed
(numpy's ``inverted_cdf``), so each is a time that was measured. With fewer than 1000 samples
p99.9 is the largest sample, with fewer than 100 p99 is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NOISE_BAND = 0.02
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Statistics of the calls of one row.

    Attributes:
        p50_us: Median time of a call, microseconds; likewise p90, p99 and p99.9.
        p90_us: See p50_us.
        p99_us: See p50_us.
        p999_us: See p50_us.
        mean_us: Mean time of a call.
        mad_us: Median absolute deviation from the median, unscaled.
        throughput_steps_per_s: Time steps of all rows of the batch, divided by the total time.
        real_time_factor: Mean time for one frame (of all streams of the batch) divided by the
            frame period; below 1 the model keeps up. None without a frame rate.
        deadline_misses: Share of calls that took longer than their frames last, 0 to 1. None
            without a frame rate.
    """

    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    mean_us: float
    mad_us: float
    throughput_steps_per_s: float
    real_time_factor: float | None
    deadline_misses: float | None


def percentile(samples: ArrayLike, q: float) -> float:
    """Return the nearest-rank percentile.

    Args:
        samples: At least one number.
        q: Percent, 0 to 100.

    Example:
        >>> percentile([10, 20, 30, 40], 50)
        20.0
    """
    return float(np.percentile(np.asarray(samples), q, method="inverted_cdf"))


def summarize(
    samples_ns: ArrayLike, *, steps: int, batch: int, frame_rate_hz: float | None = None
) -> Summary:
    """Compute the statistics of one row.

    Args:
        samples_ns: Time of each call, nanoseconds; at least one.
        steps: Time steps a call.
        batch: Streams a call.
        frame_rate_hz: Time steps a second that a live source delivers, or None.
    """
    samples = np.asarray(samples_ns, np.int64)
    p50, p90, p99, p999 = (percentile(samples, q) / 1e3 for q in (50, 90, 99, 99.9))
    mean_ns = max(float(samples.mean()), 1.0)
    factor = misses = None
    if frame_rate_hz is not None:
        budget_ns = steps * 1e9 / frame_rate_hz
        factor = mean_ns / budget_ns
        misses = float(np.mean(samples > budget_ns))
    return Summary(
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        p999_us=p999,
        mean_us=mean_ns / 1e3,
        mad_us=percentile(np.abs(samples - percentile(samples, 50)), 50) / 1e3,
        throughput_steps_per_s=steps * batch * 1e9 / mean_ns,
        real_time_factor=factor,
        deadline_misses=misses,
    )


@dataclass(frozen=True)
class Ratio:
    """Say how the median of a candidate relates to that of a baseline.

    Attributes:
        ratio: Candidate's time divided by the baseline's: below 1 the candidate is faster.
        low: Lower end of the interval, or None with too few rounds for one.
        high: Upper end.
        rounds: Pairs of turns that the interval comes from.
        verdict: ``"faster"``, ``"slower"`` or ``"no difference shown"``.
    """

    ratio: float
    low: float | None
    high: float | None
    rounds: int
    verdict: str


def compare_turns(
    baseline_ns: ArrayLike,
    baseline_turns: Sequence[int],
    candidate_ns: ArrayLike,
    candidate_turns: Sequence[int],
    *,
    noise_band: float = NOISE_BAND,
) -> Ratio:
    """Compare two rows that were measured in alternating turns.

    Each round gives one ratio of medians, from turns that ran side by side, so that a slow spell
    of the machine hits both. The result is the median of these ratios, with the distribution-free
    interval between order statistics that covers the true median with 95 % (the sign test). A
    difference is claimed only if the whole interval lies outside ``1 ± noise_band``: smaller
    ones can come from memory layout and would not repeat.

    Args:
        baseline_ns: Samples of the baseline, in order.
        baseline_turns: Number of samples of each turn.
        candidate_ns: Samples of the candidate.
        candidate_turns: Number of samples of each turn.
        noise_band: Half width of the band around 1 in which nothing is claimed.
    """
    pairs = zip(
        _turn_medians(baseline_ns, baseline_turns),
        _turn_medians(candidate_ns, candidate_turns),
        strict=False,
    )
    ratios = np.sort([after / before for before, after in pairs])
    low, high = sign_test_interval(ratios)
    verdict = "no difference shown"
    if high is not None and high < 1 - noise_band:
        verdict = "faster"
    elif low is not None and low > 1 + noise_band:
        verdict = "slower"
    return Ratio(float(np.median(ratios)), low, high, len(ratios), verdict)


def sign_test_interval(ordered: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return the order statistics that enclose the median with at least 95 % confidence.

    Args:
        ordered: Independent values, ascending.

    Returns:
        Lower and upper end; None and None for fewer than six values, which no interval encloses.
    """
    count = len(ordered)
    tail, cut = 0.0, -1
    # The k-th smallest lies above the median with probability sum(C(n, i), i < k) / 2**n.
    for k in range(count // 2):
        # Logarithms, because 2**count overflows for many rounds.
        tail += math.exp(
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
            - count * math.log(2)
        )  # fmt: skip
        if tail > (1 - CONFIDENCE) / 2:
            break
        cut = k
    if cut < 0:
        return None, None
    return float(ordered[cut]), float(ordered[count - 1 - cut])


def drift(samples_ns: ArrayLike) -> float | None:
    """Return the median of the last third divided by that of the first; None for under 30."""
    samples = np.asarray(samples_ns, np.int64)
    third = len(samples) // 3
    if third < 10:
        return None
    return percentile(samples[-third:], 50) / max(percentile(samples[:third], 50), 1.0)


def _turn_medians(samples_ns: ArrayLike, turns: Sequence[int]) -> list[float]:
    samples = np.asarray(samples_ns, np.int64)
    ends = np.cumsum(np.asarray(turns, np.int64))
    parts = np.split(samples, ends)
    return [max(float(np.median(part)), 1.0) for part in parts if len(part)]
