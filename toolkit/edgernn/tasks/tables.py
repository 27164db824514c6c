"""Read columns of numbers from csv files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError
from edgernn.files import write_text

Floats = NDArray[np.float64]


def read_csv(path: Path, names: Sequence[str]) -> Floats:
    """Read the named columns ``[N, len(names)]`` of a csv file with a first line of names.

    Raises:
        InputError: The file cannot be read, a column is missing, or an entry is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as csv: {error}") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if missing := [name for name in names if name not in header]:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; its first line must name the columns "
            f"{', '.join(names)}"
        )
    columns = [header.index(name) for name in names]
    values = np.empty((len(rows) - 1, len(names)))
    for number, row in enumerate(rows[1:]):
        try:
            values[number] = [float(row[column]) for column in columns]
        except (ValueError, IndexError):
            values[number] = np.nan
        if not np.isfinite(values[number]).all():
            raise InputError(
                f"{path}, line {number + 2}: not a finite number in each of {', '.join(names)}; "
                f"fill in what is missing"
            )
    if len(values) == 0:
        raise InputError(f"{path} has no line below the names; give at least one")
    return values


def read_dates(path: Path) -> list[datetime]:
    """Read the column ``date`` of a csv file, such as ``2016-07-01 00:00:00``.

    Raises:
        InputError: The file cannot be read, has no such column, or an entry is no date.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = [row.get("date") for row in csv.DictReader(file)]
        return [datetime.fromisoformat(text or "") for text in found]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(
            f"{path}: the column date cannot be read: {error}; give every line a date such as "
            f"2016-07-01 00:00:00"
        ) from None


def write_csv(
    path: Path, names: Sequence[str], rows: Floats, dates: Sequence[datetime] | None = None
) -> Path:
    """Write columns of numbers ``[N, len(names)]``, and return the path.

    Args:
        path: File to write.
        names: Of the columns.
        rows: Their numbers.
        dates: Of the rows, for a first column ``date``; None for none.

    Raises:
        OutputError: The file cannot be written.
    """
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    if dates is not None:
        first = ["date", *(date.isoformat(sep=" ") for date in dates)]
        lines = [f"{date},{line}" for date, line in zip(first, lines, strict=True)]
    write_text(path, "\n".join(lines) + "\n")
    return path
