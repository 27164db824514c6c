from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.candidates import Candidate, Measured
from edgernn_exporters.search.sensitivity import Sensitivity, greedy_path, sensitivities
from edgernn_exporters.search.space import Choice, Space

PRECISIONS = ("int4", "int8", "w8a16")
SPACE = Space(dict.fromkeys("abc", (*PRECISIONS, FLOAT)))


def alone(values: dict[tuple[str, str], tuple[int, float]]) -> list[Sensitivity]:
    return [
        Sensitivity(layer, precision, 0.0, noise, saved, saved)
        for (layer, precision), (saved, noise) in values.items()
    ]


@st.composite
def tables(draw: st.DrawFn) -> dict[tuple[str, str], tuple[int, float]]:
    return {
        (layer, precision): (draw(st.integers(-50, 1000)), draw(st.integers(0, 1000)) / 1000)
        for layer in SPACE.layers
        for precision in PRECISIONS
    }


@given(tables())
def test_each_step_saves_bytes_at_a_price_that_never_falls(
    table: dict[tuple[str, str], tuple[int, float]],
) -> None:
    def total(choice: Choice) -> tuple[int, float]:
        found = [table.get(item, (0, 0.0)) for item in SPACE.by_layer(choice).items()]
        return sum(saved for saved, _ in found), sum(noise for _, noise in found)

    path = [SPACE.base, *greedy_path(SPACE, alone(table))]
    totals = [total(choice) for choice in path]
    prices = []
    for (bytes_0, noise_0), (bytes_1, noise_1) in itertools.pairwise(totals):
        assert bytes_1 > bytes_0
        prices.append((noise_1 - noise_0) / (bytes_1 - bytes_0))
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(prices))
    for a, b in itertools.pairwise(path):
        assert sum(x != y for x, y in zip(a, b, strict=True)) == 1


@given(tables())
def test_the_path_ends_with_the_most_bytes_saved(
    table: dict[tuple[str, str], tuple[int, float]],
) -> None:
    path = [SPACE.base, *greedy_path(SPACE, alone(table))]
    end = sum(table.get(item, (0, 0.0))[0] for item in SPACE.by_layer(path[-1]).items())
    most = sum(
        max(0, *(table[layer, precision][0] for precision in PRECISIONS)) for layer in SPACE.layers
    )
    assert end == most


def test_the_cheapest_byte_is_saved_first() -> None:
    space = Space({"a": ("int4", "int8", FLOAT), "b": ("int8", FLOAT)})
    table = {
        ("a", "int8"): (300, 0.01), ("a", "int4"): (350, 0.5), ("b", "int8"): (100, 0.1),
    }  # fmt: skip
    assert greedy_path(space, alone(table)) == [
        ("int8", FLOAT), ("int8", "int8"), ("int4", "int8"),
    ]  # fmt: skip


def test_sensitivities_are_differences_from_the_base() -> None:
    space = Space({"a": ("int8", FLOAT), "b": ("int8",)})
    base = Candidate((FLOAT, "int8"), "", Measured(0.9, 0.01, 0.1, 700, 1000))
    single = Candidate(("int8", "int8"), "", Measured(0.8, 0.11, 0.2, 300, 400))
    found = sensitivities(space, {item.choice: item for item in (base, single)})
    assert found == [Sensitivity("a", "int8", 0.11, 0.2, 600, 400)]


def test_a_layer_that_failed_says_why_and_is_left_out_of_the_path() -> None:
    space = Space({"a": ("int8", FLOAT)})
    base = Candidate((FLOAT,), "", Measured(0.9, 0.0, 0.0, 700, 1000))
    failed = Candidate(("int8",), "", None, "returns NaN")
    found = sensitivities(space, {item.choice: item for item in (base, failed)})
    assert found == [Sensitivity("a", "int8", None, None, None, None, "returns NaN")]
    assert greedy_path(space, found) == []
