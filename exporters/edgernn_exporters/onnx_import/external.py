"""Bring tensors that lie in other files into the model, if they lie in its folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.tensors import declared_bytes
from edgernn_exporters.onnx_import.walking import tensors_of

_KEYS = ("location", "offset", "length", "checksum")
_NUMBER = re.compile(r"[0-9]{1,19}")


def load_external(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Read external tensors into the model, in place.

    Requires that the sizes of all tensors have been checked (`tensors.check_tensors`).

    Args:
        model: Its external tensors become ordinary ones.
        folder: Where the model's file lies.

    Returns:
        The files that were read, relative to ``folder``.

    Raises:
        ModelError: A file is not a regular file within the folder, reached without links, or does
            not hold what the tensor needs; names the tensor.
    """
    read: dict[str, None] = {}
    for tensor in tensors_of(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        try:
            entries = _entries(tensor)
            content = _content(tensor, entries, folder)
        except ValueError as error:
            raise ModelError(f"tensor {tensor.name!r} lies in another file: {error}") from None
        read[entries["location"]] = None
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        tensor.raw_data = content
    return list(read)


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _KEYS or entry.key in found:
            problem = "twice" if entry.key in found else "which is not one of the format"
            raise ValueError(
                f"it gives the key {entry.key[:40]!r}, {problem}; the file may be an attack, or "
                f"save it with onnx.save(model, path)"
            )
        found[entry.key] = entry.value
    if "location" not in found:
        raise ValueError("it does not say which; save the model again with its data")
    if tensor.data_type == TensorProto.STRING:
        raise ValueError("strings cannot; save the model as one file")
    return found


def _content(tensor: onnx.TensorProto, entries: dict[str, str], folder: Path) -> bytes:
    size = declared_bytes(tensor)
    offset = _number(entries.get("offset", "0"), "offset")
    length = _number(entries.get("length", str(size)), "length")
    location = entries["location"]
    if length != size:
        raise ValueError(
            f"length {length:,} is not the {size:,} bytes of shape {list(tensor.dims)}; the file "
            f"is damaged, export it again"
        )
    with _opened(folder, location) as descriptor:
        there = os.fstat(descriptor).st_size
        if offset + length > there:
            raise ValueError(
                f"{location!r} has {there:,} bytes, but bytes {offset:,} to {offset + length:,} "
                f"are asked for; it is cut off, copy it again"
            )
        checksum = entries.get("checksum")
        if checksum is not None and checksum.lower() != _sha1(descriptor):
            raise ValueError(f"{location!r} is not the file that was saved; copy it again")
        content = _read(descriptor, offset, length)
    if len(content) != length:
        raise ValueError(f"{location!r} was cut off while it was read; run again")
    return content


def _number(text: str, key: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(
            f"its {key} is {text[:40]!r}, not a number of bytes; the file is damaged or an "
            f"attack, export it again"
        )
    return int(text)


@contextmanager
def _opened(folder: Path, location: str) -> Iterator[int]:
    """Open a file step by step from the folder, so that no link on the way is followed."""
    parts = location.split("/")
    advice = "put the data beside the model as an ordinary file, or save the model as one file"
    if not location or location.startswith("/") or "\\" in location or "\0" in location:
        raise ValueError(f"{location[:200]!r} is no relative path; {advice}")
    parts = [part for part in parts if part != "."]
    if ".." in parts or "" in parts:
        raise ValueError(f"{location[:200]!r} leads out of the model's folder; {advice}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            # O_NONBLOCK: opening a pipe would wait for its writer
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if last else os.O_DIRECTORY)
            try:
                inner = os.open(part, flags, dir_fd=descriptor)
            except OSError as error:
                raise ValueError(
                    f"{location[:200]!r} cannot be opened: {_reason(folder, parts, place, error)}; "
                    f"{advice}"
                ) from None
            os.close(descriptor)
            descriptor = inner
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{location!r} is not a regular file; {advice}")
        if status.st_nlink > 1:
            raise ValueError(f"{location!r} has another name elsewhere (a hard link); {advice}")
        yield descriptor
    finally:
        os.close(descriptor)


def _reason(folder: Path, parts: list[str], place: int, error: OSError) -> str:
    reached = folder.joinpath(*parts[: place + 1])
    if reached.is_symlink():
        return f"{parts[place]!r} is a symbolic link, which could lead out of the model's folder"
    return (error.strerror or str(error)).lower()


def _read(descriptor: int, offset: int, length: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < length:  # a single read ends at 2 GiB
        piece = os.pread(descriptor, min(length - len(pieces), 1 << 26), offset + len(pieces))
        if not piece:
            break
        pieces += piece
    return bytes(pieces)


def _sha1(descriptor: int) -> str:
    digest, offset = hashlib.sha1(usedforsecurity=False), 0
    while piece := os.pread(descriptor, 1 << 20, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
