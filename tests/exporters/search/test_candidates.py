from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.search.candidates import (
    Candidate,
    Limits,
    Measured,
    choose,
    dominates,
    measured_from_json,
    nearest,
    pareto_front,
)

VECTORS = st.lists(st.integers(0, 4), min_size=3, max_size=3).map(tuple)


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for index in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 9)) == 0:
            found.append(Candidate((f"p{index}",), "", None, "failed"))
            continue
        precision = "float32" if draw(st.integers(0, 9)) == 0 else f"p{index}"
        measured = Measured(
            metric=0.9,
            drop=draw(st.integers(-1, 4)) / 100,
            noise=draw(st.integers(0, 3)) / 10,
            weight_bytes=100,
            flash_bytes=draw(st.integers(1, 6)) * 100,
            ram_bytes=draw(st.none() | st.integers(1, 6).map(lambda n: n * 10)),
            latency=draw(st.none() | st.integers(1, 6).map(float)),
        )
        found.append(Candidate((precision,), "", measured))
    return found


LIMITS = st.builds(
    Limits,
    drop=st.sampled_from([0.0, 0.01, 0.02]),
    flash_bytes=st.none() | st.sampled_from([100, 300, 600]),
    ram_bytes=st.none() | st.sampled_from([10, 30, 60]),
    latency=st.none() | st.sampled_from([1.0, 3.0]),
)


@given(VECTORS, VECTORS, VECTORS)
def test_dominance_is_a_strict_partial_order(
    a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...]
) -> None:
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@given(VECTORS, VECTORS)
def test_what_dominates_is_nowhere_larger_and_not_equal(
    a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    assert dominates(a, b) == (a != b and all(x <= y for x, y in zip(a, b, strict=True)))


def test_dominance_needs_as_many_values() -> None:
    with pytest.raises(ValueError, match="shorter"):
        dominates((1, 2), (1,))


@given(candidate_lists(), LIMITS)
def test_the_front_covers_all_and_holds_nothing_dominated(
    candidates: list[Candidate], limits: Limits
) -> None:
    front = pareto_front(candidates, limits)
    values = [limits.objectives(item.measured) for item in front if item.measured]
    assert len(set(values)) == len(front)
    assert not any(dominates(a, b) for a in values for b in values)
    for item in candidates:
        if item.measured is not None:
            mine = limits.objectives(item.measured)
            assert mine in values or any(dominates(value, mine) for value in values)
            same = [other for other, value in zip(front, values, strict=True) if value == mine]
            assert all(other.measured.noise <= item.measured.noise for other in same)
    sizes = [item.measured.flash_bytes for item in front if item.measured]
    assert sizes == sorted(sizes)


@given(candidate_lists(), LIMITS)
def test_the_choice_is_the_smallest_within_all_limits(
    candidates: list[Candidate], limits: Limits
) -> None:
    kept = [
        item for item in candidates
        if item.measured is not None and item.measured.drop <= limits.drop
        and (limits.flash_bytes is None or item.measured.flash_bytes <= limits.flash_bytes)
        and (limits.ram_bytes is None
             or (item.measured.ram_bytes or math.inf) <= limits.ram_bytes)
        and (limits.latency is None or (item.measured.latency or math.inf) <= limits.latency)
    ]  # fmt: skip
    chosen = choose(candidates, limits)
    if not kept:
        assert chosen is None
        return
    assert chosen in kept
    least = min((item.measured.flash_bytes, item.measured.noise) for item in kept if item.measured)
    assert (chosen.measured.flash_bytes, chosen.measured.noise) == least


@given(candidate_lists(), LIMITS)
def test_the_nearest_are_measured(candidates: list[Candidate], limits: Limits) -> None:
    found = nearest(candidates, limits)
    known = [item for item in candidates if item.measured is not None]
    assert bool(found) == bool(known)
    assert len(found) <= 3
    assert all(item in known for item in found)


def test_the_nearest_name_both_sides_of_the_conflict() -> None:
    small = Candidate(("int4",), "", Measured(0.8, 0.1, 0.2, 10, 100))
    right = Candidate(("w8a16",), "", Measured(0.9, 0.0, 0.0, 20, 200))
    between = Candidate(("int8",), "", Measured(0.89, 0.012, 0.1, 15, 152))
    found = nearest([small, right, between], Limits(0.01, flash_bytes=150))
    assert found == [between, small, right]


def test_float_is_chosen_where_nothing_else_keeps_the_limits() -> None:
    whole = Candidate(("float32",), "", Measured(0.9, 0.0, 0.0, 40, 400, 16_600))
    small = Candidate(("int8",), "", Measured(0.9, 0.0, 0.1, 10, 100, 18_000))
    assert choose([whole, small], Limits(0.02)) is small
    assert choose([whole, small], Limits(0.02, ram_bytes=17_000)) is whole
    assert nearest([whole, small], Limits(0.02, ram_bytes=16_000))[0] is whole


def test_a_limit_that_cannot_be_judged_is_exceeded() -> None:
    measured = Measured(0.9, 0.0, 0.0, 10, 100, ram_bytes=None)
    assert Limits(0.01, ram_bytes=1000).exceeded(measured) == ["ram_bytes"]
    assert Limits(0.01).exceeded(measured) == []


def test_a_drop_of_exactly_the_limit_is_allowed() -> None:
    assert Limits(0.0).exceeded(Measured(0.9, 0.0, 0.0, 10, 100)) == []
    assert Limits(0.0).exceeded(Measured(0.9, 1e-9, 0.0, 10, 100)) == ["drop"]


@pytest.mark.parametrize(("noise", "decibels"), [(1.0, 0.0), (1e-3, 30.0), (0.0, 200.0)])
def test_noise_in_decibels(noise: float, decibels: float) -> None:
    assert Measured(0.9, 0.0, noise, 10, 100).sqnr_db == pytest.approx(decibels)


@pytest.mark.parametrize("change", [{"drop": "0.1"}, {"flash_bytes": None}, {"metric": True}])
def test_values_of_the_wrong_type_are_refused(change: dict[str, object]) -> None:
    good = {"metric": 0.9, "drop": 0.0, "noise": 0.1, "weight_bytes": 1, "flash_bytes": 2}
    assert measured_from_json(good).flash_bytes == 2
    with pytest.raises(TypeError):
        measured_from_json({**good, **change})
