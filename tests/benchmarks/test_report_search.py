"""The page of a search, from results that are written down here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.page import Page
from helpers.search_results import search_result

from edgernn.errors import InputError
from edgernn_benchmarks.report_search import page_of_search, pareto_svg, to_html
from edgernn_exporters.search import Candidate, Limits, Measured


def test_the_page_is_wellformed_and_explains_the_choice() -> None:
    page = Page(to_html(search_result(Limits(0.05, flash_bytes=3000))))
    text = " ".join(" ".join(page.words).split())
    assert page.open == []
    assert "rnn int4, head int8: 1.50 kB of flash, 19% of the float model" in text
    assert "int4: drop 9 % (allowed 5 %)" in text
    assert "Limits drop 5 %, flash 3.0 kB" in text
    assert "9 of 9 choices of precisions for 2 layers, that is all" in text
    assert "step, µs" in text
    assert "11.5" in text


def test_nothing_is_fetched() -> None:
    html = to_html(search_result(Limits(0.05)))
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]{2,}", html)
    names = {name for _, name, _ in Page(html).attributes}
    assert not names & {"src", "href", "srcset", "action", "data", "poster"}


def test_a_page_without_a_choice_says_so() -> None:
    text = " ".join(Page(to_html(search_result(Limits(0.05, flash_bytes=10)))).words)
    assert "Nothing written: no choice keeps drop 5 %, flash 10 B" in text
    assert "Why these precisions" not in text


def test_names_are_escaped() -> None:
    html = to_html(search_result(Limits(0.05), layers=("<b>&", "head"), model='"><script>'))
    assert "<b>&amp;" not in html
    assert "&lt;b&gt;&amp;" in html
    assert '"><script>' not in html


def test_what_failed_or_does_not_compile_is_noted() -> None:
    result = search_result(Limits(0.05))
    odd = Measured(0.9, 0.01, 0.01, 10, 900, None, None, "not compiled to C (no kernel)")
    candidates = (
        Candidate(("int4", "int4"), "one layer", None, "returns NaN"),
        Candidate(("int4", "int8"), "one layer", odd),
        *result.candidates[2:],
    )
    text = " ".join(Page(to_html(replace(result, candidates=candidates))).words)
    assert "1 of 9 choices failed: returns NaN" in text
    assert "1 of 9 choices not compiled to C (no kernel)" in text
    assert "–" in text


@pytest.mark.parametrize("name", ["drop", "sqnr_db"])
def test_each_measured_choice_is_a_point(name: str) -> None:
    result = search_result(Limits(0.05))
    svg = pareto_svg(result, name, "quality")
    points = result.candidates if name == "drop" else result.candidates[:-1]
    assert svg.count("<circle") == len(points)
    assert svg.count(">chosen<") == 1
    for x, y in re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)"', svg):
        assert 58 <= float(x) <= 426
        assert 16 <= float(y) <= 250


def test_the_label_of_the_chosen_point_covers_no_other() -> None:
    result = search_result(Limits(0.05))
    near = tuple(
        replace(item, measured=replace(item.measured, drop=0.02, flash_bytes=1500 + 40 * index))
        for index, item in enumerate(result.candidates)
        if item.measured is not None
    )
    svg = pareto_svg(replace(result, candidates=near), "drop", "quality")
    x, y = map(float, re.search(r'<text x="([0-9.]+)" y="([0-9.]+)"[^>]*>chosen<', svg).groups())
    for cx, cy in re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)"', svg):
        beside = not x < float(cx) < x + 45
        assert beside or not y - 9 < float(cy) < y


def test_only_what_is_chosen_is_in_the_legend() -> None:
    legend = "</span>chosen</li>"
    assert legend in to_html(search_result(Limits(0.05)))
    assert legend not in to_html(search_result(Limits(0.05, flash_bytes=10)))
    whole = to_html(search_result(Limits(0.0)))
    assert legend not in whole
    assert ">float32, chosen<" in whole
    assert "float32 is the answer" in whole


def test_a_file_with_a_search_becomes_its_page_and_others_none(tmp_path: Path) -> None:
    result, path = search_result(Limits(0.05)), tmp_path / "s.json"
    path.write_text(json.dumps(result.to_json()))
    assert page_of_search(path) == to_html(result)
    path.write_text(json.dumps({**result.to_json(), "layers": 3}))
    with pytest.raises(InputError, match="malformed"):
        page_of_search(path)
    for text in ("{}", "[]", "no JSON", '{"schema": "edgernn-benchmark"}'):
        path.write_text(text)
        assert page_of_search(path) is None
    assert page_of_search(tmp_path / "missing.json") is None
