from __future__ import annotations

import pytest

from edgernn_benchmarks import report_format as show


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0254988, "0.0255"), (12345.6, "12,346"), (3.2e-7, "3.2e-07"), (0.0, "0"), (None, "–"),
     (1.0, "1.00"), (99.96, "100.0")],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert show.number(value) == text


@pytest.mark.parametrize(
    ("us", "text"), [(0.5, "500 ns"), (36.72, "36.7 µs"), (1040, "1.04 ms"), (2.5e6, "2.50 s")]
)
def test_duration(us: float, text: str) -> None:
    assert show.duration(us) == text


def test_units() -> None:
    assert show.size(85_031) == "85.0 kB"
    assert show.size(12) == "12 B"
    assert show.rate(24_449) == "24.4 k/s"
    assert show.share(0.0) == "0 %"
    assert show.share(0.00001) == "< 0.01 %"
    assert show.share(0.125) == "12.5 %"
    assert show.score(0.9921, "accuracy") == "99.21 %"
    assert show.score(3.14159, "per") == "3.142"
    assert show.ratio(0.571) == "0.57×"
