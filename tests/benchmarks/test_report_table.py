from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from edgernn_benchmarks import Report
from edgernn_benchmarks.report_format import duration
from edgernn_benchmarks.report_table import print_report, show_progress, to_table


@pytest.mark.parametrize("width", [80, 120, 200])
def test_table_fits_and_names_every_row(report: Report, width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(to_table(report, width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for row in report.measured:
        assert row.model in text
        assert duration(row.p50_us) in text
    assert ("Throughput" in text) == (width == 200)


def test_print_report_says_why_rows_are_empty(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(report)
    out = capsys.readouterr().out
    assert all(row.error is None or "cuda: Not measured" in out for row in report.rows)
    assert "Random inputs" in out


def test_every_distinct_note_is_printed_once(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = ("no accuracy: no such folder.", "drifted: the last third took 2.00×")
    noted = replace(report, rows=tuple(replace(row, notes=notes) for row in report.rows[:6]))
    print_report(noted)
    out = capsys.readouterr().out
    assert out.count("No accuracy: no such folder.\n") == 1
    assert "kw.int8.onnx on cpu" in out
    assert "the last third" not in out  # said for all rows together
    assert "Unquiet machine" in out
    assert noted.to_markdown().count("No accuracy: no such folder.") == 1


def test_no_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as progress:
        progress("timing step", 0.5)
    assert capsys.readouterr() == ("", "")
