from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edgernn.drift import AtLimit, Drift, OutputDrift
from edgernn.trend import judge
from edgernn_benchmarks.report_drift import drift_svg, to_html
from edgernn_benchmarks.svg import FONT

ENVIRONMENT = {"cpu": "a processor", "os": "an OS", "time_utc": "2026-01-02T03:04:05+00:00"}


def drift_of(rms: np.ndarray, **changes: object) -> Drift:
    edges = (0, 1, 2, 5, *range(10, 10 * len(rms) - 20, 10))
    series = tuple(map(float, rms[: len(edges) - 1]))
    output = OutputDrift(
        series, tuple(2 * value for value in series), 1.5, judge(series[20:], scale=1.5)
    )
    drift = Drift(edges[-1], 100, edges, 20, {"y": output}, {"c": AtLimit(0.0123, 4.0)})
    return replace(drift, **changes)


@pytest.fixture
def growing() -> Drift:
    return drift_of(np.linspace(0.1, 1, 100))


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_the_page_says_what_was_measured(growing: Drift) -> None:
    page = words_of(to_html(growing, ("kw.onnx on cpu", "kw.int8.onnx on native"), ENVIRONMENT))
    assert "The error is growing in output y." in page
    assert "kw.int8.onnx on native with kw.onnx on cpu" in page
    assert "State values at their limit: c 1.23 % at ±4.00." in page
    assert "a processor" in page
    calm = words_of(to_html(drift_of(np.full(100, 0.1)), ("a", "b"), ENVIRONMENT))
    assert "The error is bounded." in calm
    assert "+0.0%" in calm


def test_names_are_escaped_and_nothing_is_fetched(growing: Drift) -> None:
    evil = '<script>alert("1")</script>'
    named = replace(
        growing, outputs={evil: growing.outputs["y"]}, saturation={evil: AtLimit(0.5, 1.0)}
    )
    html = to_html(named, (evil, evil), {**ENVIRONMENT, "cpu": evil})
    assert "<script>alert" not in html
    assert not re.search(r"https?://", html)
    assert "default-src 'none'" in html


def test_the_numbers_of_an_axis_leave_room_for_its_title() -> None:
    plot = drift_svg(range(5), [6e-4, 7e-4, 1.5e-4, 9e-5], [7e-3, 6e-3, 6e-3, 1.5e-5], log=False)
    title = float(re.search(r"translate\(([0-9.]+) ", plot).group(1)) + 0.3 * FONT
    ends = re.findall(r'x="([0-9.]+)" y="[0-9.]+" text-anchor="end" class="tick">([^<]+)<', plot)
    assert len(ends) > 3
    for right, words in ends:
        assert float(right) - 0.56 * FONT * len(words) > title  # 0.56 em is a digit's width


@pytest.mark.parametrize("log", [False, True])
def test_the_curves_rise_with_the_error(log: bool) -> None:
    edges = list(range(101))
    plot = drift_svg(edges, np.geomspace(1, 100, 100).tolist(), [200.0] * 100, log=log)
    flat, rising = (
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline points="([^"]*)"', plot)
    )
    assert len({y for _, y in flat}) == 1
    heights = [y for _, y in rising]
    assert heights == sorted(heights, reverse=True)
    places = [x for x, _ in rising]
    assert places == sorted(places)
    assert (places[50] - places[0] > places[-1] - places[50] + 5) == log


def test_equal_models_can_be_drawn() -> None:
    plot = drift_svg([0, 1, 2, 5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], log=True)
    assert "nan" not in plot
    assert plot.count("<polyline") == 2
