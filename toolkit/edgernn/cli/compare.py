"""``edgernn compare``: measure how far two models' outputs are apart."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import (
    FILE,
    isa_option,
    json_option,
    load_options,
    model_argument,
    print_json,
    target_option,
)
from edgernn.errors import UsageError


@click.command()
@model_argument("reference")
@model_argument("candidate")
@click.option("--inputs", type=FILE, required=True, help="npz with arrays by input name, or a wav.")
@target_option
@isa_option
@click.option("--candidate-target", help="Target of the candidate; default: the same.")
@click.option("--tolerance", type=float, help="Exit with 5 if an output is further off.")
@click.option(
    "--drift",
    is_flag=True,
    help="Feed both models one long stream and tell whether the error grows, by a trend or because "
    "its last fifth is more than twice the first; exit with 5 if so.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --drift: time steps, such as 1000000; the input is repeated. Default: its length.",
)
@click.option("--report", type=FILE, help="With --drift: HTML file for the error along time.")
@json_option
def command(
    reference: Path,
    candidate: Path,
    inputs: Path,
    target: str,
    isa: str | None,
    candidate_target: str | None,
    tolerance: float | None,
    drift: bool,
    steps: int | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Run REFERENCE and CANDIDATE on the same inputs and measure the distance.

    Exits with 5 if a difference is NaN or infinite.
    """
    from edgernn import api
    from edgernn.cli.counts import counts_of, render_counts
    from edgernn.cli.drift import compare_drift
    from edgernn.cli.inputs import read_inputs

    _check_options(drift, steps, report, tolerance)
    options = load_options(isa=isa)
    first = api.load(reference, target, **(options if candidate_target is None else {}))
    second = api.load(candidate, candidate_target or target, **options)
    given = read_inputs(first, inputs)
    if drift:
        labels = f"{reference.name} on {first.target}", f"{candidate.name} on {second.target}"
        compare_drift(first, second, given, labels, steps=steps, report=report, as_json=as_json)
        return
    result = api.compare(first, second, given)
    places = {"reference": first, "candidate": second}
    counts = {place: found for place, session in places.items() if (found := counts_of(session))}
    if as_json:
        print_json({**result.to_json(), **({"emulated": counts} if counts else {})})
    else:
        for name, item in result.outputs.items():
            click.echo(
                f"{name}: max error {item.max_abs_error:.4g}, mean {item.mean_abs_error:.4g}, "
                f"largest value {item.max_abs_reference:.4g}, SQNR {item.sqnr_db:.1f} dB"
            )
            if item.error_by_step:
                click.echo(f"  along time: {_along(item.error_by_step)}")
        for place, found in counts.items():
            click.echo(f"{place} on {render_counts(places[place].target, found)}")
    if tolerance is None:
        result.require_finite()
    else:
        result.require(tolerance)


def _check_options(
    drift: bool, steps: int | None, report: Path | None, tolerance: float | None
) -> None:
    for option, value in (("--steps", steps), ("--report", report)):
        if value is not None and not drift:
            raise UsageError(f"{option} goes with a long stream; add --drift")
    if drift and tolerance is not None:
        raise UsageError(
            "--tolerance is for the largest difference, and --drift for its growth; use one"
        )


def _along(errors: tuple[float, ...]) -> str:
    """Give the largest error in up to eight equal stretches of time."""
    import numpy as np

    size = -(-len(errors) // 8)
    stretches = [np.max(errors[start : start + size]) for start in range(0, len(errors), size)]
    steps = "step" if size == 1 else f"{size} steps"
    return f"max of each {steps}: " + " ".join(f"{value:.2g}" for value in stretches)
