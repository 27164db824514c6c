from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_benchmarks import svg
from edgernn_benchmarks.report_plot import (
    Bubble,
    ecdf_svg,
    error_over_time_svg,
    place_labels,
    size_legend_svg,
    tradeoff_svg,
)

POSITIVE = st.floats(1e-3, 1e9)


def boxes(labels: list[str], places: list[tuple[float, float]]) -> list[tuple[float, ...]]:
    return [
        (x, y - 10, x + svg.text_width(label), y + 2)
        for label, (x, y) in zip(labels, places, strict=True)
    ]


@pytest.mark.parametrize("spacing", [0, 3, 12, 40])
def test_labels_do_not_overlap(spacing: int) -> None:
    labels = [f"model-{index}.onnx" for index in range(5)]
    circles = [(180.0 + spacing * index, 130.0, 8.0) for index in range(5)]
    found = boxes(labels, place_labels(labels, circles))
    for index, a in enumerate(found):
        assert a[0] >= svg.LEFT
        assert a[2] <= svg.WIDTH
        for b in found[index + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@given(
    st.lists(st.tuples(POSITIVE, st.floats(0, 1), st.integers(0, 10**9)), min_size=1, max_size=9)
)
def test_tradeoff_is_wellformed_for_any_values(rows: list[tuple[float, float, int]]) -> None:
    bubbles = [Bubble(f"<m{i}>&", x, y, size, i) for i, (x, y, size) in enumerate(rows)]
    text = tradeoff_svg(bubbles, y_label="a<b", percent=True, higher_is_better=True)
    root = ET.fromstring(text)
    assert len(root.findall("circle")) == 2 * len(rows)
    for circle in root.findall("circle"):
        assert svg.LEFT <= float(circle.attrib["cx"]) <= svg.RIGHT
        assert svg.TOP <= float(circle.attrib["cy"]) <= svg.BOTTOM


def test_bubble_area_is_the_size() -> None:
    bubbles = [Bubble("a", 10, 0.9, 4e6, 0), Bubble("b", 20, 0.8, 1e6, 1)]
    root = ET.fromstring(tradeoff_svg(bubbles, y_label="y", percent=False, higher_is_better=True))
    radii = [float(c.attrib["r"]) for c in root.findall("circle") if "bubble" in c.attrib["class"]]
    assert radii[0] / radii[1] == pytest.approx(2)


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=50))
def test_ecdf_is_monotonic(samples: list[int]) -> None:
    root = ET.fromstring(ecdf_svg({"a": samples}, {"a": 0}, deadline_us=100.0))
    curve = root.find("polyline")
    assert curve is not None
    points = [tuple(map(float, p.split(","))) for p in curve.attrib["points"].split()]
    assert points == sorted(points, key=lambda p: (p[0], -p[1]))


def test_deadline_is_drawn_only_where_it_matters() -> None:
    near = ecdf_svg({"a": [80, 90, 120]}, {"a": 0}, deadline_us=100.0)
    far = ecdf_svg({"a": [80, 90, 120]}, {"a": 0}, deadline_us=1e6)
    assert "deadline" in near
    assert "deadline" not in far


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60))
def test_error_over_time_takes_any_errors(errors: list[float]) -> None:
    text = error_over_time_svg(range(len(errors)), {"m": errors, "zero": [0.0] * len(errors)})
    root = ET.fromstring(text)
    assert len(root.findall("polyline")) == 2
    assert "nan" not in text


@given(POSITIVE, st.floats(1.0001, 1e6), st.booleans())
def test_ticks_lie_inside(low: float, factor: float, log: bool) -> None:
    scale = svg.spread([low, low * factor], 0, 100, log=log, pad=0.1)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    slack = (scale.high - scale.low) * 1e-6
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


def test_size_legend_names_the_largest() -> None:
    assert re.search(r">516 kB<", size_legend_svg(515_648))
