"""The report as one self-contained page: inline CSS and SVG, nothing fetched, no script needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from edgernn_benchmarks import svg
from edgernn_benchmarks.fresh import CALLS
from edgernn_benchmarks.measure import MAX_SAMPLES, UNTIMED_CALLS
from edgernn_benchmarks.numeric import STEPS
from edgernn_benchmarks.report import Report, Row
from edgernn_benchmarks.report_columns import table
from edgernn_benchmarks.report_format import number, size
from edgernn_benchmarks.report_plot import (
    Bubble,
    ecdf_svg,
    error_over_time_svg,
    size_legend_svg,
    tradeoff_svg,
)
from edgernn_benchmarks.report_summary import summary
from edgernn_benchmarks.scenarios import parse
from edgernn_benchmarks.statistics import NOISE_BAND


def to_html(report: Report) -> str:
    """Render the page; every name from outside is escaped."""
    labels = dict.fromkeys(row.label for row in report.measured if not row.wrong_outputs)
    series = {label: index for index, label in enumerate(labels)}
    models = list(dict.fromkeys(row.model for row in report.rows))
    title = "Benchmark of " + (models[0] if len(models) == 1 else f"{len(models)} models")
    if 1 < len(models) <= 3:
        title = f"Benchmark: {', '.join(models)}"
    cpu = report.environment.get("cpu") or "unknown processor"
    partial = '<p class="banner">Partial: the benchmark was stopped before its end.</p>'
    packages = _packages(report.environment)
    return template().substitute(
        title=escape(title),
        subtitle=escape(f"{day(report.created_utc)} · {cpu} · {report.environment.get('os', '')}"),
        banner=partial if report.partial else "",
        summary="".join(
            f"<div><dt>{escape(finding.topic)}</dt><dd>{escape(finding.text)}</dd></div>"
            for finding in summary(report)
        ),
        table=table(report, series),
        key=_key(report),
        figures=_figures(report, series),
        environment=environment_facts(report.environment),
        method=_method(report),
        footer=f"Made by edgernn {escape(str(packages.get('edgernn', '')))} bench. "
        "The raw samples are in the JSON file of the same run.",
    )


def read_schema(path: Path, schema: str) -> dict[str, Any] | None:
    """Return the JSON object of a file that says it has this schema; None of any other file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("schema") == schema else None


@cache
def template() -> Template:
    """Return the page with its places for content."""
    source = files("edgernn_benchmarks").joinpath("report_template.html")
    return Template(source.read_text(encoding="utf-8"))


def _key(report: Report) -> str:
    parts = [
        '<span class="best">Green</span>: best of its scenario; in the median column also every '
        "row that was not shown to be slower than the best.",
        "× : time relative to the baseline of the scenario, with its 95 % interval.",
    ]
    if any(len(row.samples_ns) < 1000 for row in report.timed):
        parts.append("† : the largest sample, because there are too few for this percentile.")
    if any(row.wrong_outputs for row in report.measured):
        parts.append("<del>Struck out</del>: times of an engine whose outputs are wrong.")
    if any(row.instructions_per_step is not None for row in report.measured):
        parts.append("Instructions are counted on an emulated core and say nothing of time.")
    return " ".join(parts)


def _figures(report: Report, series: dict[str, int]) -> str:
    if not series:
        return ""
    parts = [
        "<h2>Latency against quality and size, and how it spreads</h2>" if report.timed else "",
        _legend(report, series),
    ]
    for scenario in report.scenarios:
        rows = [row for row in report.timed if row.scenario == scenario]
        if rows:
            words = parse(scenario).in_words()
            parts.append(
                f"<h3><code>{escape(scenario)}</code></h3>"
                f'<p class="soft">{escape(words[:1].upper() + words[1:])}.</p>'
                f'<div class="plots">{_tradeoff(report, rows, series)}'
                f"{_distribution(report, rows, series)}</div>"
            )
    parts.append(_drift(report, series))
    return "".join(parts)


def _tradeoff(report: Report, rows: list[Row], series: dict[str, int]) -> str:
    metric = report.settings.get("metric") or "accuracy"
    scored = [row for row in rows if row.accuracy is not None]
    by_metric = bool(scored)
    shown = scored if by_metric else [row for row in rows if row.max_abs_error is not None]
    if not shown:
        return ""
    targets = {row.target for row in rows}
    bubbles = [
        Bubble(
            label=row.model if len(targets) == 1 else row.label,
            x=row.p50_us or 0.001,
            y=(row.accuracy if by_metric else row.max_abs_error) or 0.0,
            size_bytes=float(row.model_bytes or 0),
            series=series[row.label],
        )
        for row in shown
    ]
    percent = by_metric and "accuracy" in metric and all(0 <= b.y <= 1 for b in bubbles)
    plot = tradeoff_svg(
        bubbles,
        y_label=metric if by_metric else "largest output error",
        percent=percent,
        higher_is_better=by_metric and bool(report.settings.get("higher_is_better", True)),
    )
    what = metric if by_metric else "numeric error"
    return figure(f"Latency, {what} and size", "Area of a bubble: size of the model file", plot)


def _distribution(report: Report, rows: list[Row], series: dict[str, int]) -> str:
    rates = report.settings.get("frame_rates_hz", {})
    periods = {1e6 * row.steps / rate for row in rows if (rate := rates.get(row.model))}
    plot = ecdf_svg(
        {row.label: [value / 1e3 for value in row.samples_ns] for row in rows},
        series,
        deadline_us=periods.pop() if len(periods) == 1 else None,
    )
    fewest, most = min(len(r.samples_ns) for r in rows), max(len(r.samples_ns) for r in rows)
    count = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return figure("Distribution of the call times", f"{count} calls a row", plot)


def _drift(report: Report, series: dict[str, int]) -> str:
    curves: dict[str, tuple[float, ...]] = {}
    for row in report.measured:
        if row.error_by_step and not row.reference and not row.wrong_outputs:
            curves.setdefault(row.label, row.error_by_step)
    lengths = {len(curve) for curve in curves.values()}
    if len(lengths) != 1:
        return ""
    steps = lengths.pop()
    plot = error_over_time_svg(list(range(1, steps + 1)), curves, series=series)
    worst = "".join(
        f'<li><span class="swatch {svg.colour(series[label])}"></span>{escape(label)}: at most '
        f"{number(max(curve))}, at step {curve.index(max(curve)) + 1}</li>"
        for label, curve in curves.items()
    )
    reference = escape(str(report.settings.get("reference")))
    return (
        '<h2>Error along time</h2><div class="plots">'
        f"{figure('Largest error at each step', 'over all outputs', plot)}"
        f'<div class="aside"><p>Difference of each model\'s outputs from those of {reference} on '
        f"cpu, for one sequence of {steps} steps. A curve that keeps rising means that the error "
        f"builds up in the recurrent state.</p><ul>{worst}</ul></div></div>"
    )


def figure(title: str, detail: str, plot: str) -> str:
    """Put a plot into a card with its caption."""
    caption = f"<figcaption>{escape(title)}<span>{escape(detail)}</span></figcaption>"
    return f'<figure class="card">{caption}{plot}</figure>'


def _legend(report: Report, series: dict[str, int]) -> str:
    items = [
        f'<li><span class="swatch {svg.colour(index)}"></span>{escape(label)}</li>'
        for label, index in series.items()
    ]
    largest = max(row.model_bytes or 0 for row in report.measured)
    items.append(f"<li>{size_legend_svg(float(largest))}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def environment_facts(env: Mapping[str, Any]) -> str:
    """Render what something ran on, as far as it is known (see `environment.capture`)."""
    before, after = env.get("before") or {}, env.get("after") or {}
    loads = [str(x["load_average_1min"]) for x in (before, after) if "load_average_1min" in x]
    heats = [f"{x['temperature_c']:.0f}" for x in (before, after) if x.get("temperature_c")]
    memory, timer = env.get("memory_bytes"), env.get("timer_overhead_ns")
    packages = ", ".join(f"{name} {version}" for name, version in _packages(env).items())
    cores = env.get("cores_usable")
    facts = {
        "Processor": env.get("cpu"),
        "Cores": f"{cores} usable of {env.get('cores_online')}, {env.get('architecture')}"
        if cores
        else None,
        "Clock governor": env.get("cpu_governor"),
        "Load average before, after": ", ".join(loads),
        "Temperature before, after (°C)": ", ".join(heats),
        "Memory": size(memory) if memory else None,
        "GPU": env.get("gpu"),
        "System": env.get("os"),
        "Python": env.get("python"),
        "Packages": packages,
        "edgernn revision": env.get("edgernn_revision"),
        "Time (UTC)": env.get("time_utc"),
        "Timer": f"{timer} ns in each sample" if timer is not None else None,
    }
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
        if value
    )


def _method(report: Report) -> str:
    used = report.settings
    limits = [f"{used['duration_s']} s of timed calls"] if used.get("duration_s") else []
    limits += [f"{used['iterations']} timed calls"] if used.get("iterations") else []
    threads = used.get("threads")
    lines = [
        f"Each row: {' and '.join(limits)} (at most {MAX_SAMPLES}), after {used.get('warmup')} "
        f"calls to warm up; threads: {threads if threads is not None else 'the engine’s choice'}; "
        f"seed {used.get('seed')}. Inputs: {used.get('inputs')}.",
        f"The rows of a scenario take turns (A B C A B C …), about {used.get('rounds')} turns "
        f"each, so that drift of the machine hits all alike. {UNTIMED_CALLS} calls at the start "
        "of a turn are not timed, and Python's garbage collector is off in a turn.",
        "Times are of the Python call, including the checks and copies of the session. Percentiles "
        "are nearest-rank: each is a time that was measured.",
        "A ratio is the median of the rounds' ratios of medians, with the sign-test interval; a "
        f"difference is claimed only if the interval lies outside 1 ± {NOISE_BAND}.",
        f"Cold start: median of {used.get('cold_starts')} fresh processes, from the first import "
        "(numpy) to the first output: imports, load, one call. The interpreter's own start and a "
        f"cold disk are not in it. Memory: peak of these processes after {CALLS} calls, minus "
        "their peak before they imported the engine.",
        "Real time: mean time for one step divided by the time between two frames. Missed: share "
        "of the calls that took longer than their frames last.",
        f"Errors: largest absolute difference from {used.get('reference')} on cpu, over {STEPS} "
        "steps. Another engine's outputs are wrong if they differ from those of the same model on "
        "cpu by more than 0.001, or by more than a tenth of the largest value after its own "
        "quantization.",
    ]
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in lines)}</ul>"


def _packages(env: Mapping[str, Any]) -> dict[str, Any]:
    found = env.get("packages")
    return dict(found) if isinstance(found, dict) else {}


def day(created_utc: str) -> str:
    """Render an ISO time to the minute."""
    return created_utc[:16].replace("T", " ") + " UTC"
