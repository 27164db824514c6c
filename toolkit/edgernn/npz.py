"""Read and write npz files of plain arrays."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgernn.errors import InputError
from edgernn.files import write_bytes
from edgernn.sessions import Array, Arrays


def read_npz(path: str | os.PathLike[str]) -> Arrays:
    """Read arrays by name; pickled objects are refused.

    Raises:
        InputError: The file cannot be read, or is no npz of plain arrays.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{file}: cannot be read: {reason}") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{file}: not an npz of plain arrays; write one with numpy.savez(path, x=array)"
        ) from None


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, in one step.

    Raises:
        OutputError: The file cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # np.savez refuses an array named "file"
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)
    write_bytes(path, buffer.getvalue())
