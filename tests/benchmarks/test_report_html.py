from __future__ import annotations

import re
from dataclasses import replace

from helpers.page import Page

from edgernn_benchmarks import Report
from edgernn_benchmarks.report_format import duration


def test_page_is_wellformed_and_shows_the_numbers(report: Report) -> None:
    page = Page(report.to_html())
    text = " ".join(page.words)
    assert page.open == []
    for row in report.measured:
        assert duration(row.p50_us) in text
        assert row.model in text
    assert "99.20 %" in text
    for row in report.rows:
        if row.error is not None:
            assert "built without CUDA" in text or "cannot be imported" in text or "NVIDIA" in text


def test_nothing_is_fetched(report: Report) -> None:
    html = report.to_html()
    page = Page(html)
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]{2,}", html)
    assert "@import" not in html
    assert not re.search(r"url\((?!data:)", html)
    names = {name for _, name, _ in page.attributes}
    assert not names & {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    assert not [name for name in names if name.startswith("on")]
    assert "default-src 'none'" in html


def test_names_are_escaped(report: Report) -> None:
    evil = '<script>alert("1")</script>&.onnx'
    rows = tuple(
        replace(row, model=evil, target="<b>", error=row.error and "<img src=x>",
                notes=("<i>note</i>",))
        for row in report.rows
    )  # fmt: skip
    hostile = replace(
        report, rows=rows, environment={**report.environment, "cpu": "<u>cpu</u>"},
        settings={**report.settings, "metric": "<s>", "reference": "<em>"},
    )  # fmt: skip
    html = hostile.to_html()
    page = Page(html)
    assert page.open == []
    for tag in ("<script>alert", '<b>"', "<img", "<i>note", "<u>cpu", "<s>", "<em>"):
        assert tag not in html
    assert {tag for tag, _, _ in page.attributes}.isdisjoint({"img", "i", "u", "em"})


def test_page_of_a_report_without_accuracy_or_rows(report: Report) -> None:
    plain = replace(report, rows=tuple(replace(r, accuracy=None, metrics={}) for r in report.rows))
    assert "largest output error" in plain.to_html()
    empty = replace(report, rows=tuple(r for r in report.rows if not r.available), partial=True)
    page = Page(empty.to_html())
    assert page.open == []
    assert any("Partial" in words for words in page.words)


def test_best_is_marked_and_ties_are_not(report: Report) -> None:
    html = report.to_html()
    assert '<span class="best">99.20 %</span>' in html
    assert '<span class="best">98.95 %</span>' not in html
    equal = replace(report, rows=tuple(replace(row, accuracy=0.5) for row in report.rows))
    assert '<span class="best">50.00 %</span>' not in equal.to_html()
