from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.cli.limits import COUNT, SHARE, SIZE, TIME, Quantity


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SHARE, "0.5%", 0.005), (SHARE, "0.005", 0.005), (SHARE, "0", 0.0), (SHARE, "100 %", 1.0),
        (SIZE, "64k", 64_000), (SIZE, "64kB", 64_000), (SIZE, "64Ki", 65_536),
        (SIZE, "1.5MiB", 1_572_864), (SIZE, "512", 512), (SIZE, "512B", 512),
        (SIZE, "2M", 2_000_000),
        (TIME, "50us", 50.0), (TIME, "50µs", 50.0), (TIME, "1.5 ms", 1500.0), (TIME, "800ns", 0.8),
        (TIME, "2s", 2e6), (COUNT, "25000", 25_000), (COUNT, "25k", 25_000),
        (COUNT, ".5M", 500_000),
    ],
)  # fmt: skip
def test_what_people_write(kind: Quantity, text: str, value: float) -> None:
    found = kind.convert(text, None, None)
    assert found == pytest.approx(value)
    assert isinstance(found, int) == (kind in (SIZE, COUNT))


@pytest.mark.parametrize(
    ("kind", "text"),
    [(SHARE, "0.5k"), (SHARE, "-1%"), (SHARE, "half"), (SHARE, "%"), (SIZE, "64q"), (SIZE, "-1"),
     (SIZE, "1.2.3k"), (SIZE, ""), (SIZE, "inf"), (SIZE, "nan"), (TIME, "50"), (TIME, "50 m"),
     (TIME, "us"), (COUNT, "1e5"), (COUNT, "5%")],
)  # fmt: skip
def test_what_is_not_understood_says_how_to_write_it(kind: Quantity, text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it like"):
        kind.convert(text, None, None)


@pytest.mark.parametrize(("text", "ways"), [("2", "2% or 0.02"), ("1", "1% or 0.01")])
def test_a_share_of_one_or_more_needs_its_percent_sign(text: str, ways: str) -> None:
    with pytest.raises(click.BadParameter, match=f"write {ways}"):
        SHARE.convert(text, None, None)
    assert SHARE.convert("2%", None, None) == pytest.approx(0.02)


@given(st.integers(0, 10**9), st.sampled_from(["", "k", "Ki", "M"]))
def test_sizes_are_whole_bytes(number: int, unit: str) -> None:
    factor = {"": 1, "k": 1000, "Ki": 1024, "M": 10**6}[unit]
    assert SIZE.convert(f"{number}{unit}", None, None) == number * factor


def test_numbers_are_taken_as_they_are() -> None:
    assert SIZE.convert(1234, None, None) == 1234
