from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.search_results import search_result

from edgernn_exporters.search import (
    Candidate,
    Limits,
    Measured,
    bytes_in_words,
    describe,
    drop_in_words,
    explain,
    in_words,
    notes,
)
from edgernn_exporters.search.words import misses


@pytest.mark.parametrize(
    ("drop", "words"),
    [(0.005, "0.5 %"), (0.0, "0 %"), (-0.0, "0 %"), (-1e-9, "0 %"), (1 / 60, "1.67 %"),
     (-0.05, "-5 %"), (1.0, "100 %")],
)  # fmt: skip
def test_drops(drop: float, words: str) -> None:
    assert drop_in_words(drop) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (64_000, "64.0 kB"), (2_500_000, "2.50 MB")]
)
def test_sizes(count: int, words: str) -> None:
    assert bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("choice", "words"),
    [(("int4",) * 4, "all int4"),
     (("int8", "int4", "int4", "int4"), "a int8, else int4"),
     (("int8", "int4", "int8", "int4"), "a int8, b int4, c int8, d int4")],
)  # fmt: skip
def test_choices(choice: tuple[str, ...], words: str) -> None:
    result = search_result(Limits(), ("a", "b", "c", "d"))
    assert describe(Candidate(choice, "", None), result) == words


def test_limits_name_what_is_limited_and_what_is_missed() -> None:
    limits = Limits(0.01, flash_bytes=1000, ram_bytes=100, latency=5.0)
    result = search_result(limits)
    assert in_words(limits, result) == "drop 1 %, flash 1.0 kB, RAM 100 B, step 5.0 µs"
    measured = Measured(0.9, 0.02, 0.1, 10, 900, None, 6.0, "not compiled to C (no kernel)")
    assert misses(measured, limits, result) == (
        "drop 2 % (allowed 1 %), RAM unknown (allowed 100 B), step 6.0 µs (allowed 5.0 µs): "
        "not compiled to C (no kernel)"
    )
    assert misses(measured, Limits(0.02), result) == "within all limits"


def test_each_layer_is_explained_by_its_neighbours() -> None:
    result = search_result(Limits(0.05))
    chosen = result.require_chosen()
    assert chosen.choice == ("int4", "int8")
    rnn, head = explain(result, chosen)
    assert (rnn.precision, rnn.bytes, rnn.float_bytes, rnn.why) == ("int4", 500, 4000, "smallest")
    assert (head.precision, head.bytes) == ("int8", 1000)
    assert head.why == "int4: drop 9 % (allowed 5 %)"
    assert head.alone is not None
    assert head.alone.drop == pytest.approx(2e-4)


def test_what_was_not_measured_or_failed_is_said() -> None:
    result = search_result(Limits(0.05))
    small = ("int4", "int4")
    without = tuple(item for item in result.candidates if item.choice != small)
    chosen = result.require_chosen()
    assert explain(replace(result, candidates=without), chosen)[1].why == "int4: not measured"
    failed = (*without, Candidate(small, "", None, "NaN"))
    assert explain(replace(result, candidates=failed), chosen)[1].why == "int4: failed"


def test_float_as_the_answer_is_said() -> None:
    result = search_result(Limits(0.0))
    assert result.require_chosen().choice == ("float32", "float32")
    assert notes(result)[0] == (
        "float32 is the answer: no quantized choice keeps drop 0 % with less flash; the file is "
        "the float32 file itself"
    )


def test_a_split_that_is_too_coarse_for_the_limit_is_noted() -> None:
    assert "one of them is 1.67 %" in notes(search_result(Limits(0.005)))[0]
    assert notes(search_result(Limits(0.02))) == []
    assert notes(search_result(Limits(0.005), higher_is_better=False)) == []
