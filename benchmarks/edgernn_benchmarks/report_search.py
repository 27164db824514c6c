"""The page of a search for precisions: why each layer got its own, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from edgernn_benchmarks import svg
from edgernn_benchmarks.report_format import score, size
from edgernn_benchmarks.report_html import day, environment_facts, figure, read_schema, template
from edgernn_benchmarks.report_plot import place_labels
from edgernn_benchmarks.svg import BOTTOM, LEFT, RIGHT, TOP
from edgernn_exporters.search import (
    COLUMNS,
    SCHEMA,
    Candidate,
    Measured,
    SearchResult,
    bytes_in_words,
    describe,
    drop_in_words,
    explain,
    in_words,
    notes,
)

_CHOSEN, _FRONT, _OTHER, _FLOAT = 2, 0, 7, 1  # colours
_RADIUS = 4.5
_WHY = "smaller precisions, all else as chosen"


def page_of_search(path: Path) -> str | None:
    """Render a file with a search's result; None if the file is something else.

    Raises:
        InputError: It is a search's result, but malformed or of another version.
    """
    value = read_schema(path, SCHEMA)
    return None if value is None else to_html(SearchResult.from_json(value, str(path)))


def to_html(result: SearchResult) -> str:
    """Render one self-contained page; every name from outside is escaped."""
    chosen = result.chosen
    missing = (
        f'<p class="banner">Nothing written: no choice keeps '
        f"{escape(in_words(result.limits, result))}.</p>"
    )
    env = result.environment
    made = day(str(env.get("time_utc", "")))
    return template().substitute(
        title=escape(f"Precision of each layer: {result.model}"),
        subtitle=escape(f"{made} · {env.get('cpu')} · {env.get('os')}"),
        banner="" if chosen is not None else missing,
        summary="".join(
            f"<div><dt>{escape(topic)}</dt><dd>{escape(text)}</dd></div>"
            for topic, text in _summary(result, chosen)
        ),
        table=_candidates(result, chosen),
        key="The Pareto front: every other choice is worse in something and better in nothing. "
        "SQNR: power of the float model's outputs over that of the difference. Flash: constants "
        "of the generated C, without its code. RAM: its state and scratch memory, without stack.",
        figures=_figures(result, chosen),
        environment=environment_facts(env),
        method=_method(result),
        footer="Made by edgernn quantize --auto. All choices that were measured are in the JSON "
        "of the same run.",
    )  # fmt: skip


def _summary(result: SearchResult, chosen: Candidate | None) -> list[tuple[str, str]]:
    found = []
    if chosen is not None and chosen.measured is not None:
        measured, reference = chosen.measured, result.reference
        share = measured.flash_bytes / max(reference.flash_bytes, 1)
        found.append((
            "Chosen",
            f"{describe(chosen, result)}: {size(measured.flash_bytes)} of flash, {share:.0%} of "
            f"the float model's {size(reference.flash_bytes)}; {result.metric} "
            f"{score(measured.metric, result.metric)} against "
            f"{score(reference.metric, result.metric)} on {result.examples} validation examples.",
        ))  # fmt: skip
    found.append(("Limits", f"{in_words(result.limits, result)}."))
    every = bool(result.settings.get("every_choice"))
    found.append((
        "Measured",
        f"{len(result.candidates)} of {result.space.size} choices of precisions for "
        f"{len(result.layers)} layers" + (", that is all." if every else "."),
    ))  # fmt: skip
    return [*found, *(("Note", f"{line}.") for line in notes(result))]


def _candidates(result: SearchResult, chosen: Candidate | None) -> str:
    shown = [column for column in COLUMNS if column.applies(result)]
    rows = []
    for item in result.front:
        assert item.measured is not None
        exceeded = result.limits.exceeded(item.measured)
        words = "chosen" if item == chosen else "over a limit" if exceeded else "within limits"
        rows.append(([describe(item, result), words], item.measured, item == chosen))
    float_chosen = chosen is not None and chosen.is_float
    words = "chosen" if float_chosen else "reference"
    rows.append((["float32", words], result.reference, float_chosen))
    body = []
    for (name, words), measured, best in rows:
        title = f'<span class="best">{escape(name)}</span>' if best else f"<b>{escape(name)}</b>"
        cells = [f'<td class="name" data-value="{escape(name)}">{title}'
                 f"<small>{escape(words)}</small></td>"]  # fmt: skip
        for column in shown:
            value = getattr(measured, column.name)
            key = "" if value is None else f"{value:.9g}"
            cells.append(
                f'<td class="num" data-label="{escape(column.head)}" data-value="{key}">'
                f"{escape(column.show(measured, result))}</td>"
            )
        body.append(f'<tr class="row">{"".join(cells)}</tr>')
    heads = ["precisions", *(column.head for column in shown)]
    return _table(heads, body)


def _figures(result: SearchResult, chosen: Candidate | None) -> str:
    parts = ["<h2>Flash against quality</h2>", _legend(chosen), '<div class="plots">']
    for title, name, label in (
        ("Metric", "drop", "drop, percent (lower is better)"),
        ("Distance of the outputs", "sqnr_db", "SQNR, dB (higher is better)"),
    ):
        parts.append(figure(title, "Each point is a choice", pareto_svg(result, name, label)))
    parts.append("</div>")
    if chosen is not None:
        parts.append(f"<h2>Why these precisions</h2>{_choice(result, chosen)}")
    if result.sensitivities:
        parts.append(f"<h2>One layer quantized, all others float</h2>{_sensitivities(result)}")
    return "".join(parts)


def _legend(chosen: Candidate | None) -> str:
    items = [("Pareto front", _FRONT), ("other choices", _OTHER), ("float32", _FLOAT)]
    if chosen is not None and not chosen.is_float:
        items.insert(0, ("chosen", _CHOSEN))
    return '<ul class="legend">' + "".join(
        f'<li><span class="swatch {svg.colour(index)}"></span>{name}</li>' for name, index in items
    ) + "</ul>"  # fmt: skip


def pareto_svg(result: SearchResult, name: str, label: str) -> str:
    """Plot flash (log scale) against a quality, one point for each choice.

    Args:
        result: What was measured.
        name: ``"drop"`` (shown in percent) or ``"sqnr_db"``.
        label: Title of the vertical axis.
    """
    front = {item.choice: item for item in result.front}
    chosen = result.chosen

    def quality(measured: Measured) -> float:
        return measured.drop * 100 if name == "drop" else min(measured.sqnr_db, 100.0)

    points: list[tuple[Measured, int, str]] = []
    for item in result.candidates:
        if item.measured is not None and not item.is_float:
            on_front = item.choice in front
            words = "chosen" if item == chosen else ""
            colour = _CHOSEN if item == chosen else _FRONT if on_front else _OTHER
            points.append((item.measured, colour, words))
    if name == "drop":  # the float model has no distance from itself
        is_chosen = chosen is not None and chosen.is_float
        points.append((result.reference, _FLOAT, "float32, chosen" if is_chosen else "float32"))
    points.sort(key=lambda point: {_OTHER: 0, _FRONT: 1, _FLOAT: 2, _CHOSEN: 3}[point[1]])
    limit = result.limits.drop * 100 if name == "drop" else None
    values = [quality(measured) for measured, _, _ in points]
    x = svg.spread((m.flash_bytes for m, _, _ in points), LEFT + 12, RIGHT - 12, log=True, pad=0.06)
    ends = [*values, *([limit] if limit is not None else [])]
    y = svg.spread(ends, BOTTOM - 12, TOP + 12, log=False, pad=0.06)
    parts = [
        svg.x_axis(x, "flash for constants (log scale)",
                   [(tick, size(tick)) for tick in x.ticks()]),
        svg.y_axis(y, label, [(tick, f"{tick:.3g}") for tick in y.ticks()]),
    ]  # fmt: skip
    if limit is not None:
        parts.append(svg.line(LEFT, y(limit), RIGHT, y(limit), "deadline"))
    if result.limits.flash_bytes is not None and x.low < result.limits.flash_bytes < x.high:
        at = x(result.limits.flash_bytes)
        parts.append(svg.line(at, TOP, at, BOTTOM, "deadline"))
    labels: list[str] = []
    circles: list[tuple[float, float, float]] = []
    others: list[tuple[float, float, float]] = []
    for (measured, colour, words), value in zip(points, values, strict=True):
        cx, cy = x(measured.flash_bytes), y(value)
        css = svg.colour(colour)
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{_RADIUS}" class="bubble {css}"/>')
        (circles if words else others).append((cx, cy, _RADIUS))
        labels += [words] if words else []
    for words, place in zip(labels, place_labels(labels, circles, others), strict=True):
        parts.append(svg.text(place[0], place[1], words, "label"))
    told = "; ".join(
        f"{describe(item, result)}: {size(item.measured.flash_bytes)}, "
        f"{quality(item.measured):.3g}"
        for item in result.front if item.measured is not None
    )  # fmt: skip
    return svg.figure("".join(parts), f"Flash against {label}. Pareto front: {told}")


def _choice(result: SearchResult, chosen: Candidate) -> str:
    body = []
    for row in explain(result, chosen):
        alone = row.alone.drop if row.alone is not None else None
        now = "–" if row.bytes is None else bytes_in_words(row.bytes)
        cells = [
            _name(row.layer, row.operator),
            _cell("precision", row.precision, None),
            _cell("constants", now, row.bytes),
            _cell("in float32", bytes_in_words(row.float_bytes), row.float_bytes),
            _cell("drop alone", "–" if alone is None else drop_in_words(alone), alone),
            f'<td class="words" data-label="{_WHY}">{escape(row.why)}</td>',
        ]
        body.append(f'<tr class="row">{"".join(cells)}</tr>')
    heads = ["layer", "precision", "constants", "in float32", "drop alone", _WHY]
    return f'<div class="card wide">{_table(heads, body)}</div>'


def _sensitivities(result: SearchResult) -> str:
    found = {(item.layer, item.precision): item for item in result.sensitivities}
    precisions = list(dict.fromkeys(precision for _, precision in found))
    body = []
    for layer, info in result.layers.items():
        cells = [_name(layer, info.operator)]
        for precision in precisions:
            item = found.get((layer, precision))
            drop = item.drop if item is not None else None
            words = "–" if item is None else "failed"
            detail = ""
            if item is not None and drop is not None and item.sqnr_db is not None:
                words = drop_in_words(drop)
                saved = item.saved_bytes or 0
                detail = f"<small>{item.sqnr_db:.1f} dB, saves {_saved(saved)}</small>"
            cells.append(_cell(precision, words, drop, detail))
        body.append(f'<tr class="row">{"".join(cells)}</tr>')
    table = _table(["layer", *precisions], body)
    return (
        f'<div class="card wide">{table}</div><p class="key">Drop of the metric; SQNR; flash '
        "saved.</p>"
    )


def _saved(count: int) -> str:
    return bytes_in_words(count) if count >= 0 else f"−{bytes_in_words(-count)}"


def _name(layer: str, operator: str) -> str:
    return (
        f'<td class="name" data-value="{escape(layer)}"><b>{escape(layer)}</b>'
        f"<small>{escape(operator)}</small></td>"
    )


def _cell(head: str, words: str, value: float | None, detail: str = "") -> str:
    key = "" if value is None else f"{value:.9g}"
    return (
        f'<td class="num" data-label="{escape(head)}" data-value="{key}">'
        f"{escape(words)}{detail}</td>"
    )


def _table(heads: Sequence[str], body: Sequence[str]) -> str:
    top = "".join(
        f'<th scope="col"{" class=words" if head == _WHY else ""}>{escape(head)}</th>'
        for head in heads
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _method(result: SearchResult) -> str:
    used = result.settings
    better = "higher" if result.higher_is_better else "lower"
    lines = [
        f"{result.metric} ({better} is better) of task {used.get('task')} on the validation "
        f"split, {result.examples} examples, with ONNX Runtime. The test split is not used.",
        "First each layer alone in each precision, with all other layers float. Then choices for "
        "all layers: every one if there are few; else uniform ones, those that a greedy order by "
        "noise per saved byte suggests, those that optuna's multi-objective TPE sampler suggests "
        f"(seed {used.get('seed')}), and last the best one changed in one layer.",
        f"Flash and RAM are those of generated C for target {result.target}.",
    ]
    if result.latency_unit == "us":
        lines.append(f"Time of a step: median on target {result.target}, from Python.")
    if result.latency_unit == "instructions":
        lines.append(f"Instructions of a step are counted on the emulated {result.target}.")
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in lines)}</ul>"
