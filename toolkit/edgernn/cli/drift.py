"""What ``edgernn compare --drift`` does and prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from edgernn.cli.options import print_json
from edgernn.cli.progress import progress_bar
from edgernn.drift import TRANSIENT, Drift
from edgernn.files import check_writable, write_text
from edgernn.sessions import Arrays, Session
from edgernn.trend import KPSS_LIMIT, LATE_GROWTH, LEAST_GROWTH

_STRETCHES = 8


def compare_drift(
    reference: Session,
    candidate: Session,
    inputs: Arrays,
    labels: tuple[str, str],
    *,
    steps: int | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Run two models over a long stream, print the result, and fail if the error grows.

    Args:
        reference: Loaded model.
        candidate: Loaded model.
        inputs: Arrays by name.
        labels: Names of the two.
        steps: Time steps; None for those of the inputs.
        report: HTML file to write.
        as_json: Print JSON.

    Raises:
        AccuracyGateError: The error of an output grows.
    """
    from edgernn import api

    if report is not None:
        check_writable(report)
    with progress_bar("steps") as progress:
        drift = api.drift(reference, candidate, inputs, steps=steps, progress=progress)
    if as_json:
        print_json({"reference": labels[0], "candidate": labels[1], **drift.to_json()})
    else:
        for line in _in_words(drift, labels):
            click.echo(line)
    if report is not None:
        from edgernn_benchmarks.environment import capture
        from edgernn_benchmarks.report_drift import to_html

        write_text(report, to_html(drift, labels, capture()))
        click.echo(f"written to {report}", err=as_json)
    drift.require_bounded()


def _in_words(drift: Drift, labels: tuple[str, str]) -> Iterator[str]:
    repeated = drift.steps / drift.given_steps
    times = f", the {drift.given_steps:,} of the input {repeated:.3g} times" if repeated > 1 else ""
    yield f"{labels[1]} against {labels[0]}: {drift.steps:,} steps{times}"
    for name, item in drift.outputs.items():
        trend = item.trend
        yield (
            f"{name}: RMS error {trend.level:.4g} (median of the windows), largest "
            f"{max(item.largest):.4g}; RMS of the values {item.reference_rms:.4g}"
        )
        parts = np.array_split(item.rms[drift.judged_from :], _STRETCHES)
        along = " ".join(f"{np.sqrt(np.mean(np.square(part))):.3g}" for part in parts)
        yield f"  along time, without the first {TRANSIENT:.0%}: {along}"
        yield (
            f"  {'growing' if trend.growing else 'bounded'}: trend {trend.growth:+z.1%} of the "
            f"median, KPSS {trend.statistic:.2f}; growing is above {LEAST_GROWTH:+.0%} and above "
            f"{KPSS_LIMIT}"
        )
        yield (
            f"  last fifth {trend.last:.3g}, first fifth {trend.first:.3g} (medians); growing is "
            f"above {LATE_GROWTH:g} times"
        )
    for name, found in drift.saturation.items():
        yield f"state {name}: {found.share:.3%} of the values at its limit ±{found.limit:.4g}"
    yield f"verdict: {drift.verdict}"
