"""The tables of ``edgernn quantize --auto`` in a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.search_results import search_result

from edgernn.cli.search_tables import print_search
from edgernn_exporters.search import Limits, SearchResult


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def costly(limits: Limits) -> SearchResult:
    """Return a result with wide numbers and long names."""
    result = search_result(limits, ("encoder.rnn.l0", "classifier.output"))
    candidates = tuple(
        replace(item, measured=replace(
            item.measured, latency=130_000.0, flash_bytes=item.measured.flash_bytes * 100,
            ram_bytes=123_456, drop=item.measured.drop + 0.1))
        for item in result.candidates if item.measured is not None
    )  # fmt: skip
    return replace(result, candidates=candidates, latency_unit="instructions")


def test_rows_stand_on_one_line_with_all_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    result = costly(Limits(0.131, latency=130_000.0))
    print_search(result, Path("kw.onnx"))
    shown = capsys.readouterr().out.splitlines()
    assert "Pareto front: precisions of encoder.rnn.l0, classifier.output" in " ".join(shown)
    row = next(line for line in shown if line.startswith(" chosen: int4, int8"))
    assert row.split()[3:] == ["0.9198", "13.02", "%", "15.2", "dB", "150.0", "kB", "123.5", "kB",
                               "130,000"]  # fmt: skip
    assert max(map(len, shown[: shown.index(row)])) <= 80


def test_reasons_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_search(costly(Limits(0.131, latency=130_000.0)), Path("kw.onnx"))
    assert "classifier.output: int4: drop 19 % (allowed 13.1 %)" in capsys.readouterr().out


def test_what_is_over_a_limit_and_what_was_measured_before_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_search(replace(search_result(Limits(0.05)), reused=7), Path("kw.onnx"))
    shown = capsys.readouterr().out
    assert "; over: over a limit" in shown
    assert " over: int4, int4 " in shown
    assert "9 choices measured, 7 of them in an earlier search" in shown


def test_float_is_marked_where_it_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    print_search(search_result(Limits(0.0)), Path("kw.onnx"))
    shown = capsys.readouterr().out
    assert " chosen: float32 " in shown
    assert "note: float32 is the answer" in shown
