"""A benchmark's result in plain words, for the page, the Markdown and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from edgernn_benchmarks.opening import is_peer
from edgernn_benchmarks.report import Comparison, Report, Row
from edgernn_benchmarks.report_format import duration, number, ratio, score, share, size


@dataclass(frozen=True)
class Finding:
    """One finding in words, without markup.

    Attributes:
        topic: What it is about: a scenario, a model on a target …
        text: One sentence or two.
    """

    topic: str
    text: str


def summary(report: Report) -> list[Finding]:
    """Return what the measurements say, the most important first."""
    return [
        *_extent(report),
        *(text for name in report.scenarios for text in _fastest(report, name)),
        *_emulated(report),
        *_models(report),
        *findings_unavailable(report),
        *findings_cautions(report),
    ]


def in_words(ratio_: Comparison) -> str:
    """Render a comparison as ``0.57× the time of kw.onnx on cpu (95 % interval 0.53–0.65)``."""
    found = ratio_.ratio
    interval = "too few rounds for an interval"
    if found.low is not None and found.high is not None:
        interval = f"95 % interval {found.low:.2f}–{found.high:.2f}"
    if found.verdict == "no difference shown":
        return f"no difference to {ratio_.baseline} shown ({ratio(found.ratio)}, {interval})"
    return f"{ratio(found.ratio)} the time of {ratio_.baseline} ({interval})"


def _extent(report: Report) -> list[Finding]:
    done, total = len(report.measured), len(report.rows)
    models = len({row.model for row in report.rows})
    places = {row.target for row in report.rows}
    rivals = sum(is_peer(name) for name in places)
    others = f" and in {_count(rivals, 'other engine')}" if rivals else ""
    text = (
        f"{_count(models, 'model')} on {_count(len(places) - rivals, 'target')}{others} in "
        f"{_count(len(report.scenarios), 'scenario')}: {done} of {total} rows measured."
    )
    if report.partial:
        text += " The benchmark was stopped before its end, so some numbers are missing."
    return [Finding("Measured", text)]


def _fastest(report: Report, scenario: str) -> list[Finding]:
    rows = [row for row in report.timed if row.scenario == scenario]
    if not rows:
        return []
    best = min(rows, key=lambda row: row.p50_us or 0.0)
    text = (
        f"{best.label} has the lowest median, {duration(best.p50_us)} (p99 {duration(best.p99_us)})"
    )
    against = [
        found for found in report.comparisons()
        if (found.scenario, found.candidate) == (scenario, best.label)
    ]  # fmt: skip
    text += "".join(f": {in_words(found)}" for found in against) + "."
    if best.real_time_factor:
        missed = best.deadline_misses or 0.0
        text += (
            f" On average a call takes {number(best.real_time_factor * 100)} % of the time its "
            f"frames last; "
            + (f"{share(missed)} of the calls missed" if missed else "no call missed")
            + " the deadline."
        )
    return [Finding(scenario, text)]


def _emulated(report: Report) -> list[Finding]:
    """Say what was counted on emulated cores, which is never compared with times."""
    findings = []
    for row in report.measured:
        if row.instructions_per_step is not None:
            text = (
                f"{row.instructions_per_step:,.0f} instructions (emulated) a time step in scenario "
                f"{row.scenario}; {size(row.flash_bytes)} of flash, {size(row.static_ram_bytes)} "
                f"of static RAM, {size(row.stack_bytes)} of stack."
            )
            findings.append(Finding(row.label, text))
    return findings


def _models(report: Report) -> list[Finding]:
    """Compare each model's size, metric and error with the reference's, once per target."""
    metric = report.settings.get("metric")
    reference = next((row for row in report.rows if row.reference), None)
    findings: dict[str, Finding] = {}
    for row in report.measured:
        if reference is None or row.reference or is_peer(row.target):
            continue
        parts = []
        if row.model != reference.model and row.model_bytes and reference.model_bytes:
            part = row.model_bytes / reference.model_bytes
            parts.append(
                f"file of {size(row.model_bytes)}, {ratio(part)} that of {reference.model}"
            )
        if row.accuracy is not None and reference.accuracy is not None:
            parts.append(
                f"{metric or 'accuracy'} {score(row.accuracy, metric)} against "
                f"{score(reference.accuracy, metric)}"
            )
        if row.max_abs_error is not None:
            parts.append(f"outputs differ by at most {number(row.max_abs_error)}")
        if parts:
            findings.setdefault(row.label, Finding(row.label, _sentence("; ".join(parts)) + "."))
    return list(findings.values())


def findings_unavailable(report: Report) -> list[Finding]:
    """Say of each target with empty rows why, and what to do about it."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in report.rows:
        if not row.available:
            reasons.setdefault((row.target, row.error or ""), []).append(row)
    return [
        Finding(target, f"Not measured ({_count(len(rows), 'row')}): {reason(rows[0])}.")
        for (target, _), rows in reasons.items()
    ]


def reason(row: Row) -> str:
    """Return why a row was not measured, without the name of the target in front."""
    return (row.error or "").removeprefix(f"target {row.target}: ").rstrip(".")


def findings_cautions(report: Report) -> list[Finding]:
    """Say what makes the numbers less sure."""
    findings = []
    if report.settings.get("inputs_are_random"):
        findings.append(
            Finding(
                "Random inputs",
                "They do not represent real data: the numeric errors hold for these inputs only. "
                "Give real inputs to judge your use.",
            )
        )
    findings += _notes(report)
    unstable = [row for row in report.timed if any(map(_is_drift, row.notes))]
    if unstable:
        findings.append(
            Finding(
                "Unquiet machine",
                f"{len(unstable)} of {_count(len(report.timed), 'row')} drifted by more than "
                f"10 % while being measured. Ratios between rows, which took turns, are more "
                f"trustworthy than the times themselves.",
            )
        )
    return findings


def _notes(report: Report) -> list[Finding]:
    """Say each distinct note once, with the models and targets that it is about."""
    about: dict[str, dict[str, None]] = {}
    for row in report.rows:
        for note in row.notes:
            if not _is_drift(note):
                about.setdefault(" ".join(note.split()).rstrip("."), {})[row.label] = None
    return [Finding(", ".join(labels), _sentence(note) + ".") for note, labels in about.items()]


def _is_drift(note: str) -> bool:
    return note.startswith("drifted")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
