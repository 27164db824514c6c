"""The suite's results as one JSON file, written after each measurement, so that a stop loses one.

The file is an object with ``schema``, ``version``, ``settings``, ``sessions`` (the environment of
each time the suite was run) and ``rows``: what was measured, by a key such as
``memory/lstm/100/seed0``. Each row says in which session it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgernn.errors import InputError, UsageError
from edgernn.files import check_writable, write_text

SCHEMA, VERSION = "edgernn-cells", 1
Row = dict[str, Any]


@dataclass
class Journal:
    """Hold what was measured, and the file that it is kept in.

    Attributes:
        path: The file; None keeps it in memory.
        settings: See `Plan.settings`.
        sessions: Environments, the present one last.
        rows: Results by key, in the order of measuring.
    """

    path: Path | None
    settings: Mapping[str, Any]
    sessions: list[Mapping[str, Any]]
    rows: dict[str, Row]

    def measured(self, key: str, make: Callable[[], Row]) -> Row:
        """Return a row, measured now if it is not there yet, and kept at once.

        Raises:
            OutputError: The file cannot be written.
        """
        if key not in self.rows:
            self.rows[key] = {**make(), "session": len(self.sessions) - 1}
            self.save()
        return self.rows[key]

    def save(self) -> None:
        """Write the file."""
        if self.path is not None:
            write_text(self.path, json.dumps(self.to_json()) + "\n")

    def under(self, prefix: str) -> Iterator[Row]:
        """Yield the rows whose keys begin so."""
        for key, row in self.rows.items():
            if key.startswith(prefix):
                yield row

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "settings": dict(self.settings),
            "sessions": [dict(session) for session in self.sessions],
            "rows": self.rows,
        }

    @staticmethod
    def from_json(value: Any, path: Path) -> Journal:
        """Read what `to_json` wrote.

        Raises:
            InputError: It is something else, or of another version.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise InputError(
                f"{path} holds no result of `edgernn bench --suite cells`; name another file"
            )
        if value.get("version") != VERSION:
            raise InputError(
                f"{path} has version {value.get('version')!r}, this edgernn reads {VERSION}; use "
                f"the edgernn that wrote it"
            )
        parts: list[Any] = [value.get(name) for name in ("settings", "sessions", "rows")]
        if not all(map(isinstance, parts, (dict, list, dict))):
            raise InputError(f"{path} is damaged; restore it, or delete it and measure again")
        return Journal(path, *parts)


def open_journal(path: Path, settings: Mapping[str, Any], session: Mapping[str, Any]) -> Journal:
    """Begin a file, or go on with one.

    Args:
        path: The file.
        settings: See `Plan.settings`.
        session: Environment of what is measured from now on.

    Raises:
        InputError: The file holds something else.
        UsageError: It holds results with other settings.
        OutputError: It cannot be written.
    """
    check_writable(path)
    if not path.exists():
        return Journal(path, settings, [session], {})
    found = read_journal(path)
    known = json.loads(json.dumps(dict(settings)))
    differing = [
        f"{name} is {found.settings.get(name)!r} there, {known.get(name)!r} here"
        for name in dict.fromkeys((*found.settings, *known))
        if found.settings.get(name) != known.get(name)
    ]
    if differing:
        raise UsageError(
            f"{path} holds results of other settings: {'; '.join(differing)}; choose another file "
            f"with --json, or delete that one"
        )
    found.sessions.append(session)
    return found


def read_journal(path: Path) -> Journal:
    """Read a file.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); name a JSON file of the suite"
        ) from None
    return Journal.from_json(value, path)
