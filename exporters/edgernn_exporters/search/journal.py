"""What was measured, line by line in a file, so that an interrupted search goes on.

Each line is one JSON object with ``key``, ``choice`` (precision by layer), and ``measured``. What
failed is not in the file, so that the next search tries it again. Lines are appended and flushed to
the disk. The key says what was measured with which data and how; lines with another key stay in the
file and are not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgernn.errors import OutputError
from edgernn_exporters.search.candidates import Candidate, measured_from_json
from edgernn_exporters.search.space import Choice


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything that what is measured depends on, as 16 digits."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Journal:
    """Find measurements again, and keep new ones.

    Args:
        path: The file; it need not exist.
        key: See `key_of`.

    Raises:
        OutputError: The file cannot be read or written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._key = key
        self._known: dict[str, Candidate] = {}
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            if lines and not lines[-1].endswith(b"\n"):  # the process was killed while writing
                os.truncate(path, sum(map(len, lines[:-1])))
                lines.pop()
        except OSError as error:
            raise OutputError(_explain(path, error)) from None
        for line in lines:
            self._read(line)

    def __len__(self) -> int:
        """Count the measurements that are in the file and can be used."""
        return sum(known.measured is not None for known in self._known.values())

    def find(self, layers: Mapping[str, str], choice: Choice, origin: str) -> Candidate | None:
        """Return what was measured of a choice, or None."""
        known = self._known.get(_name(layers))
        if known is None:
            return None
        return Candidate(choice, origin, known.measured, known.error)

    def keep(self, layers: Mapping[str, str], candidate: Candidate) -> None:
        """Append a measurement; a failure is only remembered.

        Raises:
            OutputError: The file cannot be written.
        """
        self._known[_name(layers)] = candidate
        if candidate.measured is None:
            return
        entry = {"key": self._key, "choice": dict(layers), "measured": asdict(candidate.measured)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as stream:
                stream.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(_explain(self.path, error)) from None

    def _read(self, line: bytes) -> None:
        """Take a line in; one that is damaged is as if it were not there, and measured again."""
        try:
            entry = json.loads(line)
            if entry["key"] != self._key:
                return
            measured = measured_from_json(entry["measured"])
            self._known[_name(entry["choice"])] = Candidate((), "", measured)
        except (ValueError, KeyError, TypeError, AttributeError):
            return


def _name(layers: Mapping[str, str]) -> str:
    return json.dumps(dict(layers), sort_keys=True)


def _explain(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot keep results in {path}: {reason}; choose another -o"
