"""The table of the report page: columns, the best in each, and rows that say why they are empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from edgernn_benchmarks import svg
from edgernn_benchmarks.report import Comparison, Report, Row
from edgernn_benchmarks.report_format import (
    NOTHING,
    duration,
    number,
    rate,
    ratio,
    score,
    share,
    size,
)
from edgernn_benchmarks.report_summary import reason
from edgernn_benchmarks.scenarios import parse
from edgernn_benchmarks.statistics import compare_turns


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        head: Title.
        value: What it sorts by and what is best.
        show: Text of the cell.
        detail: Small print below, or an empty string.
        best: ``"low"``, ``"high"``, or an empty string where there is no best.
        needs: Samples below which the value is only the largest sample: marked, never the best.
        time: Whether it tells of time; struck out where the outputs are wrong.
    """

    head: str
    value: Callable[[Row], float | None]
    show: Callable[[Row], str]
    detail: Callable[[Row], str] = lambda row: ""
    best: str = "low"
    needs: int = 0
    time: bool = False


def columns(report: Report) -> list[Column]:
    """Return the columns that have a value in some row."""
    metric = report.settings.get("metric")
    best = "high" if report.settings.get("higher_is_better", True) else "low"
    compared = {(c.scenario, c.candidate): c for c in report.comparisons()}
    every = [
        Column("p50", lambda r: r.p50_us, lambda r: duration(r.p50_us),
               lambda r: _against(r, compared.get((r.scenario, r.label))), time=True),
        Column("p90", lambda r: r.p90_us, lambda r: duration(r.p90_us), time=True),
        Column("p99", lambda r: r.p99_us, lambda r: duration(r.p99_us) + _few(r, 100), needs=100,
               time=True),
        Column("p99.9", lambda r: r.p999_us, lambda r: duration(r.p999_us) + _few(r, 1000),
               needs=1000, time=True),
        Column("Throughput", lambda r: r.throughput_steps_per_s,
               lambda r: rate(r.throughput_steps_per_s), best="high", time=True),
        Column("Real time", lambda r: r.real_time_factor,
               lambda r: number(r.real_time_factor),
               lambda r: f"{share(r.deadline_misses)} missed", best="", time=True),
        Column((metric or "accuracy").capitalize(), lambda r: r.accuracy,
               lambda r: score(r.accuracy, metric), best=best),
        Column("Max error", lambda r: r.max_abs_error,
               lambda r: "reference" if r.reference else number(r.max_abs_error), best=""),
        Column("instructions (emulated)", lambda r: r.instructions_per_step,
               lambda r: _count(r.instructions_per_step), lambda r: "a time step", best=""),
        Column("Flash", lambda r: r.flash_bytes, lambda r: size(r.flash_bytes), best=""),
        Column("Static RAM", lambda r: r.static_ram_bytes, lambda r: size(r.static_ram_bytes),
               best=""),
        Column("Stack", lambda r: r.stack_bytes, lambda r: size(r.stack_bytes), best=""),
        Column("File", lambda r: r.model_bytes, lambda r: size(r.model_bytes)),
        Column("Memory", lambda r: r.peak_memory_bytes, lambda r: size(r.peak_memory_bytes),
               lambda r: f"engine {size(r.engine_memory_bytes)}", best=""),
        Column("Cold start", lambda r: r.cold_start_ms,
               lambda r: duration(_us(r.cold_start_ms)),
               lambda r: f"load {duration(_us(r.load_ms))}", best=""),
    ]  # fmt: skip
    return [c for c in every if any(c.value(row) is not None for row in report.measured)]


WRONG = "wrong outputs"
"""What marks the rows of engines that compute something else."""

_MANY_COLUMNS = 11

TABLE_HEADS = ("Model and target",)
"""Heads of the columns that every report has before its `columns`."""


def table(report: Report, series: Mapping[str, int]) -> str:
    """Render the table, one body for each scenario.

    Args:
        report: The result.
        series: Colour number by row label, of the rows that the plots show.
    """
    shown = columns(report)
    heads = [*TABLE_HEADS, *(column.head for column in shown)]
    bodies = []
    for scenario in report.scenarios:
        rows = [row for row in report.rows if row.scenario == scenario]
        winners = {column.head: _winners(column, rows) for column in shown}
        bodies.append(
            f'<tbody><tr><th colspan="{len(heads)}" scope="rowgroup"><code>{escape(scenario)}'
            f"</code> <span>{escape(parse(scenario).in_words())}</span></th></tr>"
            + "".join(_row(row, shown, winners, series) for row in rows if row.available)
            + _reasons([row for row in rows if not row.available], len(shown))
            + "</tbody>"
        )
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    dense = ' class="dense"' if len(heads) > _MANY_COLUMNS else ""
    return f"<table{dense}><thead><tr>{top}</tr></thead>{''.join(bodies)}</table>"


def _row(
    row: Row,
    shown: Sequence[Column],
    winners: Mapping[str, set[str]],
    series: Mapping[str, int],
) -> str:
    notes = "".join(f'<small class="note">{escape(note)}</small>' for note in row.notes)
    swatch = ""
    if row.label in series:
        swatch = f'<span class="swatch {svg.colour(series[row.label])}"></span>'
    cells = [
        f'<td class="name" data-value="{escape(row.label)}">{swatch}<b>{escape(row.model)}</b>'
        f"<small>{escape(row.target)} · {escape(row.precision)}</small>{notes}</td>"
    ]
    for column in shown:
        value, words = column.value(row), escape(column.show(row))
        if row.label in winners[column.head]:
            words = f'<span class="best">{words}</span>'
        if row.wrong_outputs and column.time:
            words = f"<del>{words}</del>"
        detail = column.detail(row) if value is not None else ""
        small = f"<small>{escape(detail)}</small>" if detail else ""
        key = "" if value is None else f"{value:.9g}"
        cells.append(
            f'<td class="num" data-label="{escape(column.head)}" data-value="{key}">'
            f"{words}{small}</td>"
        )
    return f'<tr class="row">{"".join(cells)}</tr>'


def _reasons(rows: Sequence[Row], width: int) -> str:
    """Render the rows that were not measured: one for each target and reason."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        reasons.setdefault((row.target, reason(row)), []).append(row)
    return "".join(
        f'<tr class="row" data-empty><td class="name" data-value="{escape(target)}">'
        f"<b>{escape(target)}</b>"
        f"<small>{escape(', '.join(row.model for row in same))}</small></td>"
        f'<td class="reason" colspan="{max(width, 1)}">Not measured: {escape(why)}.</td></tr>'
        for (target, why), same in reasons.items()
    )


def _winners(column: Column, rows: Sequence[Row]) -> set[str]:
    """Return the labels of the best rows; none where all are equal or only one was measured."""
    rows = [row for row in rows if row.available and not row.wrong_outputs]
    values = {row.label: value for row in rows if (value := column.value(row)) is not None}
    timed = [row for row in rows if row.samples_ns]
    if any(len(row.samples_ns) < column.needs for row in timed):
        return set()
    if not column.best or len(values) < 2 or len(set(values.values())) < 2:
        return set()
    best = min(values.values()) if column.best == "low" else max(values.values())
    winners = {label for label, value in values.items() if value == best}
    if column.head == "p50":
        first = next(row for row in rows if row.label in winners)
        winners |= {row.label for row in timed if not _slower(first, row)}
    return winners


def _slower(best: Row, row: Row) -> bool:
    found = compare_turns(best.samples_ns, best.turns, row.samples_ns, row.turns)
    return row is not best and found.verdict == "slower"


def _against(row: Row, found: Comparison | None) -> str:
    if row.wrong_outputs:
        return WRONG
    if found is None:
        return "baseline"
    low, high = found.ratio.low, found.ratio.high
    interval = "" if low is None or high is None else f" ({low:.2f}–{high:.2f})"
    return ratio(found.ratio.ratio) + interval


def _few(row: Row, needed: int) -> str:
    return " †" if 0 < len(row.samples_ns) < needed else ""


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _us(ms: float | None) -> float | None:
    return None if ms is None else ms * 1e3
