"""The page of a drift: error along a long stream, saturation, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgernn.drift import CHUNK, TRANSIENT, Drift
from edgernn.trend import KPSS_LIMIT, LATE_GROWTH, LEAST_GROWTH, ROUNDING
from edgernn_benchmarks import svg
from edgernn_benchmarks.report_format import number, share
from edgernn_benchmarks.report_html import environment_facts, figure, template
from edgernn_benchmarks.svg import BOTTOM, LEFT, RIGHT, TOP, Scale

_RMS, _LARGEST = 0, 2  # colours


def to_html(drift: Drift, labels: tuple[str, str], environment: Mapping[str, Any]) -> str:
    """Render one self-contained page; every name from outside is escaped.

    Args:
        drift: What was measured.
        labels: Names of the reference and the candidate.
        environment: See `environment.capture`.
    """
    env = environment
    return template().substitute(
        title=escape(f"Drift of {labels[1]}"),
        subtitle=escape(
            " · ".join(
                str(part) for part in (env.get("time_utc"), env.get("cpu"), env.get("os")) if part
            )
        ),
        banner="",
        summary="".join(
            f"<div><dt>{escape(topic)}</dt><dd>{escape(text)}</dd></div>"
            for topic, text in _summary(drift, labels)
        ),
        table=_table(drift),
        key=f"Trend: rise of the Theil-Sen line over the judged steps, relative to the median. "
        f"First and last: median RMS of the first and the last fifth. Growing: trend above "
        f"{LEAST_GROWTH:.0%} and KPSS above {KPSS_LIMIT}, or last above {LATE_GROWTH:g} × first.",
        figures=_figures(drift),
        environment=environment_facts(env),
        method=_method(drift),
        footer="Made by edgernn compare --drift. Its --json holds every window.",
    )


def _summary(drift: Drift, labels: tuple[str, str]) -> list[tuple[str, str]]:
    repeated = drift.steps / drift.given_steps
    times = f"; the input of {drift.given_steps:,} repeated" if repeated > 1 else ""
    names = f" in output {', '.join(drift.growing)}" if drift.growing else ""
    found = [
        ("Verdict", f"The error is {drift.verdict}{names}."),
        ("Compared", f"{labels[1]} with {labels[0]}, over {drift.steps:,} time steps{times}."),
    ]
    if drift.saturation:
        parts = [
            f"{name} {share(item.share)} at ±{number(item.limit)}"
            for name, item in drift.saturation.items()
        ]
        found.append(("Saturation", f"State values at their limit: {', '.join(parts)}."))
    return found


def _table(drift: Drift) -> str:
    heads = ("output", "verdict", "RMS error", "largest error", "RMS of values", "trend", "KPSS",
             "first", "last")  # fmt: skip
    body = []
    for name, item in drift.outputs.items():
        trend = item.trend
        cells = [
            (trend.level, number(trend.level)),
            (max(item.largest), number(max(item.largest))),
            (item.reference_rms, number(item.reference_rms)),
            (trend.growth, f"{trend.growth:+z.1%}"),
            (trend.statistic, number(trend.statistic)),
            (trend.first, number(trend.first)),
            (trend.last, number(trend.last)),
        ]
        verdict = "growing" if trend.growing else "bounded"
        row = [
            f'<td class="name" data-value="{escape(name)}"><b>{escape(name)}</b></td>',
            f'<td data-label="verdict" data-value="{verdict}">{verdict}</td>',
        ]
        row += [
            f'<td class="num" data-label="{escape(head)}" data-value="{value:.9g}">'
            f"{escape(words)}</td>"
            for head, (value, words) in zip(heads[2:], cells, strict=True)
        ]
        body.append(f'<tr class="row">{"".join(row)}</tr>')
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _figures(drift: Drift) -> str:
    legend = "".join(
        f'<li><span class="swatch {svg.colour(index)}"></span>{name}</li>'
        for name, index in (("RMS of a window", _RMS), ("largest in a window", _LARGEST))
    )
    parts = [f'<h2>Error along time</h2><ul class="legend">{legend}</ul><div class="plots">']
    for name, item in drift.outputs.items():
        for words, log in (("whole run", False), ("from the first step", True)):
            plot = drift_svg(drift.edges, item.rms, item.largest, log=log)
            parts.append(figure(f"Output {name}", words, plot))
    return "".join([*parts, "</div>"])


def drift_svg(
    edges: Sequence[int], rms: Sequence[float], largest: Sequence[float], *, log: bool
) -> str:
    """Plot the RMS and the largest error of each window along time.

    Args:
        edges: First step of each window, and the number of steps.
        rms: Of each window.
        largest: Of each window.
        log: Logarithmic time, which shows the start.
    """
    ends = [float(edge) for edge in edges[1:]]
    errors = [*rms, *largest]
    least = min((value for value in errors if value > 0), default=1.0)
    y = svg.spread([value for value in errors if value > 0], BOTTOM, TOP, log=True, pad=0.06)
    x = Scale(min(ends) if log else 0.0, max(ends), LEFT, RIGHT - 8, log=log)
    title = "time step" + (" (log scale)" if log else "")
    parts = [
        svg.x_axis(x, title, [(tick, _steps(tick)) for tick in x.ticks()]),
        svg.y_axis(y, "absolute error (log scale)", [(tick, f"{tick:.2g}") for tick in y.ticks()]),
    ]
    for values, colour in ((largest, _LARGEST), (rms, _RMS)):
        points = [(x(end), y(max(value, least))) for end, value in zip(ends, values, strict=True)]
        parts.append(svg.path(points, f"curve thin {svg.colour(colour)}"))
    told = f"RMS {number(rms[0])} in the first window, {number(rms[-1])} in the last; "
    told += f"largest {number(max(largest))}"
    return svg.figure("".join(parts), f"Error along time. {told}")


def _steps(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _method(drift: Drift) -> str:
    size = drift.edges[-2] - drift.edges[-3]
    lines = [
        "Both models run the same stream, each with its own state fed back, and their outputs are "
        f"compared at every step. Errors are summed up in windows of {size:,} steps; the first "
        "is divided further.",
        f"The verdict counts the windows after the first {TRANSIENT:.0%} of the steps. An error "
        f"grows if the KPSS test rejects at 1 % that its RMS stays about one level, and the trend "
        f"rises by more than {LEAST_GROWTH:.0%} of the median; or if the median of the last fifth "
        f"of the windows is more than {LATE_GROWTH:g} times that of the first fifth. Errors below "
        f"{ROUNDING:g} of the values are rounding of float32.",
    ]
    if drift.saturation:
        lines.append(
            f"Saturation is looked at after each chunk of at most {CHUNK} steps. The h of a tanh "
            "cell has the limit 1, which is the cell's own; any other limit cuts values off."
        )
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in lines)}</ul>"
