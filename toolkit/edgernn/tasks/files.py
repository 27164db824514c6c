"""Find and read the files of data sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgernn.errors import InputError


def find_file(folder: Path, names: Iterable[str], advice: str) -> Path:
    """Return the first of some files that there is, or ``folder`` if it is a file itself.

    Args:
        folder: Where to look.
        names: Names in that folder.
        advice: What to do if there is none.

    Raises:
        InputError: There is none.
    """
    names = list(names)
    for path in (folder, *(folder / name for name in names)):
        if path.is_file():
            return path
    raise InputError(f"{folder} holds no {' and no '.join(names)}; {advice}")


def read_text(path: Path, advice: str = "give a text file in UTF-8") -> str:
    """Read a text file.

    Raises:
        InputError: It cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}; {advice}") from None
