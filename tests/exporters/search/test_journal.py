from __future__ import annotations

from pathlib import Path

import pytest

from edgernn.errors import OutputError
from edgernn_exporters.search.candidates import Candidate, Measured
from edgernn_exporters.search.journal import Journal, key_of

LAYERS = {"rnn": "int8", "linear": "int4"}
CHOICE = ("int8", "int4")
GOOD = Candidate(CHOICE, "optuna", Measured(0.9, 0.1, 1e-3, 10, 20, 30, 4.5, "note"))
BAD = Candidate(("int4", "int4"), "optuna", None, "returns NaN")
OTHER = Candidate(BAD.choice, "optuna", GOOD.measured)
OTHER_LAYERS = {"rnn": "int4", "linear": "int4"}


def test_measurements_are_found_again_and_failures_are_tried_again(tmp_path: Path) -> None:
    first = Journal(tmp_path / "new" / "s.jsonl", "k")
    first.keep(LAYERS, GOOD)
    first.keep(OTHER_LAYERS, BAD)
    assert first.find(OTHER_LAYERS, BAD.choice, "optuna") == BAD  # not again in the same search
    assert len(first) == 1
    again = Journal(tmp_path / "new" / "s.jsonl", "k")
    assert len(again) == 1
    assert again.find(dict(reversed(LAYERS.items())), CHOICE, "optuna") == GOOD
    assert again.find(OTHER_LAYERS, BAD.choice, "optuna") is None
    assert again.find({"rnn": "int8"}, ("int8",), "") is None


def test_the_origin_is_that_of_the_present_search(tmp_path: Path) -> None:
    Journal(tmp_path / "s", "k").keep(LAYERS, GOOD)
    found = Journal(tmp_path / "s", "k").find(LAYERS, CHOICE, "greedy")
    assert found is not None
    assert found.origin == "greedy"


def test_other_keys_are_kept_apart_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Journal(path, "one").keep(LAYERS, GOOD)
    other = Journal(path, "two")
    assert len(other) == 0
    other.keep(OTHER_LAYERS, OTHER)
    assert Journal(path, "one").find(LAYERS, CHOICE, "optuna") == GOOD
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_was_cut_off_is_dropped_and_what_follows_is_whole(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "s"
    Journal(path, "k").keep(LAYERS, GOOD)
    Journal(path, "k").keep(OTHER_LAYERS, OTHER)
    path.write_bytes(path.read_bytes()[:-cut])
    cut_off = Journal(path, "k")
    assert len(cut_off) == 1
    cut_off.keep(OTHER_LAYERS, OTHER)
    assert len(Journal(path, "k")) == 2


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", "3", '{"key": "k"}', '{"key": "k", "choice": 5, "measured": 3}',
     '{"key": "k", "choice": {"a": "b"}, "measured": {"metric": "x"}}',
     '{"key": "k", "choice": {"a": "b"}, "measured": {"unknown": 1}}'],
)  # fmt: skip
def test_damaged_lines_are_as_if_they_were_not_there(tmp_path: Path, line: str) -> None:
    path = tmp_path / "s"
    path.write_text(line + "\n")
    journal = Journal(path, "k")
    journal.keep(LAYERS, GOOD)
    assert len(Journal(path, "k")) == 1


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot keep results"):
        Journal(tmp_path, "k")


def test_keys_differ_with_any_setting() -> None:
    keys = {key_of({"a": 1, "b": 2}), key_of({"a": 1, "b": 3}), key_of({"a": 1})}
    assert len(keys) == 3
    assert key_of({"b": 2, "a": 1}) in keys
