from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import UsageError
from edgernn_benchmarks.scenarios import MAX_BATCH, MAX_STEPS, Scenario, parse


@pytest.mark.parametrize(
    ("text", "scenario"),
    [
        ("step", Scenario("step", 1, 1)),
        ("stepx8", Scenario("step", 1, 8)),
        ("chunk:10", Scenario("chunk", 10, 1)),
        ("chunk:10x4", Scenario("chunk", 10, 4)),
        ("sequence:100", Scenario("sequence", 100, 1)),
        ("sequence:100x8", Scenario("sequence", 100, 8)),
    ],
)
def test_parse(text: str, scenario: Scenario) -> None:
    assert parse(text) == scenario


def test_batch_is_used_where_the_text_names_none() -> None:
    assert parse("step", batch=4).batch == 4
    assert parse("stepx2", batch=4).batch == 2


@given(
    st.sampled_from(["step", "chunk", "sequence"]),
    st.integers(1, MAX_STEPS),
    st.integers(1, MAX_BATCH),
)
def test_text_and_back(kind: str, steps: int, batch: int) -> None:
    scenario = Scenario(kind, 1 if kind == "step" else steps, batch)
    assert parse(str(scenario)) == scenario


@pytest.mark.parametrize(
    "text",
    ["", "steps", "step:4", "chunk", "sequence:", "sequence:0", "sequence:10x0", "chunk:-1",
     "chunk:1.5", "sequence:10x", "STEP", " step", "sequence:٣", "sequence:9999999999"],
)  # fmt: skip
def test_bad_text_lists_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"the forms are|steps must be"):
        parse(text)


def test_words() -> None:
    assert (
        parse("sequence:100x8").in_words() == "whole sequences of 100 time steps, 8 streams at once"
    )
    assert not parse("sequence:3").streams
    assert parse("chunk:3").streams
