from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgernn.errors import InputError, UsageError
from edgernn_benchmarks.cells.journal import Journal, Row, open_journal, read_journal

SETTINGS = {"hidden_size": 4, "targets": ("cpu",)}


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "cells.json", []

    def measure(value: int) -> Row:
        calls.append(value)
        if value == 3:
            raise KeyboardInterrupt
        return {"value": value}

    first = open_journal(path, SETTINGS, {"time_utc": "one"})
    for value in (1, 2):
        first.measured(f"part/{value}", lambda value=value: measure(value))
    with pytest.raises(KeyboardInterrupt):
        first.measured("part/3", lambda: measure(3))
    second = open_journal(path, SETTINGS, {"time_utc": "two"})
    assert second.measured("part/1", lambda: measure(1)) == {"value": 1, "session": 0}
    assert second.measured("part/4", lambda: measure(4)) == {"value": 4, "session": 1}
    assert calls == [1, 2, 3, 4]
    kept = read_journal(path)
    assert [row["value"] for row in kept.under("part/")] == [1, 2, 4]
    assert not list(kept.under("other/"))
    assert [session["time_utc"] for session in kept.sessions] == ["one", "two"]


def test_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    open_journal(path, SETTINGS, {}).measured("a", dict)
    with pytest.raises(UsageError, match="hidden_size is 4 there, 64 here; choose another file"):
        open_journal(path, {**SETTINGS, "hidden_size": 64}, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "cannot be read"),
        ("[]", "holds no result of"),
        ('{"schema": "edgernn-benchmark"}', "holds no result of"),
        ('{"schema": "edgernn-cells", "version": 99}', "has version 99"),
        ('{"schema": "edgernn-cells", "version": 1, "rows": []}', "is damaged"),
    ],
)
def test_another_file_is_refused_and_left_as_it_is(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "cells.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        open_journal(path, SETTINGS, {})
    assert path.read_text() == content


def test_the_file_is_json_with_every_row(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    journal = open_journal(path, SETTINGS, {"cpu": "x"})
    journal.measured("a", lambda: {"norms": [1.0]})
    assert json.loads(path.read_text())["rows"] == {"a": {"norms": [1.0], "session": 0}}
    assert Journal.from_json(json.loads(path.read_text()), path).rows == journal.rows
