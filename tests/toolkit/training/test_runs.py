from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgernn.errors import CheckpointError
from edgernn.training import RunInfo, read_run
from edgernn.training.runs import differences


def test_what_was_written_is_read(finished: RunInfo) -> None:
    again = read_run(finished.folder)
    assert again.history == finished.history
    assert again.weights == finished.weights
    assert (again.best, again.parent) == (finished.best, finished.parent)
    assert differences(again, finished) == []


def test_differences_are_named(finished: RunInfo) -> None:
    other = replace(
        finished,
        seed=7,
        model=replace(finished.model, cell="lstm"),
        recipe=replace(finished.recipe, epochs=9),
        processes=2,
        data={**finished.data, "holdout": "jackson"},
    )
    assert differences(finished, other) == [
        "cell is 'gru' there, 'lstm' here",
        "epochs is 6 there, 9 here",
        "seed is 0 there, 7 here",
        "processes is 1 there, 2 here",
        "data holdout is None there, 'jackson' here",
    ]


def test_data_may_have_moved(finished: RunInfo) -> None:
    moved = replace(finished, data={**finished.data, "folder": "/elsewhere"})
    assert differences(finished, moved) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 1}, "format 1, this edgernn reads format 2"),
        ({"model": {"cell": "gru"}}, "exactly the keys"),
        ({"recipe": {"epoch": 3}}, "damaged"),
        ({"history": None}, "damaged"),
        ({"history": []}, "different epochs"),
        ({"last": None}, "no weights belong to them"),
        ({"weights": {"epoch": 99, "sha256": ""}}, "different epochs"),
    ],
)
def test_damaged_file_is_refused(
    tmp_path: Path, finished: RunInfo, changes: dict[str, Any], words: str
) -> None:
    values = json.loads((finished.folder / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(CheckpointError, match=words):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        read_run(tmp_path)


def test_folder_without_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run"):
        read_run(tmp_path / "nowhere")


def test_every_key_of_the_file_is_needed(tmp_path: Path, finished: RunInfo) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    values = json.loads((finished.folder / "run.json").read_text())
    for key in values.keys() - {"epoch", "best"}:  # these two are for people
        less = {name: value for name, value in values.items() if name != key}
        (tmp_path / "run" / "run.json").write_text(json.dumps(less))
        with pytest.raises(CheckpointError):
            read_run(tmp_path / "run")
