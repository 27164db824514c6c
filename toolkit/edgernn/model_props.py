"""Read the metadata of an ONNX file without reading its graph, however large the file is.

An ONNX file is a protobuf message: fields of a number, a wire type and a value, one after another.
``metadata_props`` is field 14 of the outermost message; the graph with its weights is another
field, and is skipped by its length.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from edgernn.errors import EdgernnError
from edgernn.metadata import Metadata

_PROPS, _KEY, _VALUE = 14, 1, 2  # ModelProto.metadata_props; StringStringEntryProto.key, value
_LONGEST = 1 << 24  # bytes of one entry; ours are far below


def read_metadata(path: str | os.PathLike[str]) -> Metadata | None:
    """Read the ``edgernn.*`` metadata of a file.

    Returns:
        The metadata; None where the file is missing, broken or not an ONNX model, of which opening
        it says more.

    Example:
        >>> read_metadata("kw.onnx").unproven is None
        True
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return Metadata.from_props(_props(file, size), str(path))
    except (OSError, ValueError, EdgernnError):
        return None


def _props(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while file.tell() < size:
        number, length = _field(file)
        if number == _PROPS and length <= _LONGEST:
            entry = _entry(file, file.tell() + length)
            found[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        else:
            file.seek(length, os.SEEK_CUR)
    return found


def _entry(file: BinaryIO, end: int) -> dict[int, str]:
    values: dict[int, str] = {}
    while file.tell() < end:
        number, length = _field(file)
        values[number] = file.read(min(length, _LONGEST)).decode()
    return values


def _field(file: BinaryIO) -> tuple[int, int]:
    """Return a field's number and how many bytes its value has from here on."""
    tag = _varint(file)
    number, kind = tag >> 3, tag & 7
    if kind == 0:
        _varint(file)
        return number, 0
    if kind in (1, 5):  # 64 and 32 bits
        return number, 8 if kind == 1 else 4
    if kind == 2:
        return number, _varint(file)
    raise ValueError(f"wire type {kind}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than ten bytes")
