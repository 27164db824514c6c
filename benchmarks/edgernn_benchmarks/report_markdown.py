"""The report as Markdown, for pull requests."""

from __future__ import annotations

from edgernn_benchmarks.report import Report, Row
from edgernn_benchmarks.report_columns import TABLE_HEADS, WRONG, Column, columns
from edgernn_benchmarks.report_summary import summary


def to_markdown(report: Report) -> str:
    """Render the summary and one table."""
    shown = columns(report)
    heads = ["Scenario", *TABLE_HEADS, *(column.head for column in shown)]
    lines = [
        f"- **{_escaped(finding.topic)}**: {_escaped(finding.text)}" for finding in summary(report)
    ]
    lines += ["", _line(heads), _line(["---", "---", *("--:" for _ in shown)])]
    for row in report.rows:
        where = _escaped(row.target) + (f" (**{WRONG}**)" if row.wrong_outputs else "")
        start = [f"`{row.scenario}`", f"**{_escaped(row.model)}** on {where}"]
        if row.available:
            cells = [_cell(row, column) for column in shown]
        else:
            cells = ["not measured" if column is shown[0] else "" for column in shown]
        lines.append(_line([*start, *cells]))
    environment = report.environment
    lines += [
        "",
        f"{_escaped(str(environment.get('cpu')))}, {_escaped(str(environment.get('os')))}, "
        f"{_escaped(str(environment.get('python')))}, {report.created_utc}",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Row, column: Column) -> str:
    text = column.show(row)
    return f"~~{text}~~" if row.wrong_outputs and column.time else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
