"""Keep ranges beside the model, so that the same calibration is not run twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgernn.errors import EdgernnError, OutputError
from edgernn.files import sha256_of, write_text
from edgernn.integer import Ranges
from edgernn.sessions import Array

_VERSION = 2
"""Changes when the same data would give other ranges."""


def cache_path(source: str | os.PathLike[str]) -> Path:
    """Return the file beside a model that its ranges are kept in."""
    return Path(f"{os.fspath(source)}.calibration.json")


def cached(
    source: str | os.PathLike[str],
    sequences: Iterable[Mapping[str, Array]],
    method: str,
    make: Callable[[], Ranges],
    *,
    encoder: str | os.PathLike[str] | None = None,
) -> Ranges:
    """Return the kept ranges if model, data and method are the same, else make and keep them.

    A folder that cannot be written to only means that nothing is kept.

    Args:
        source: The model.
        sequences: The data.
        method: How ranges are chosen.
        make: Calibrates.
        encoder: Where the model is a decoder: what it gets its inputs from.
    """
    path = cache_path(source)
    key = {
        "version": _VERSION,
        "model_sha256": sha256_of(source),
        "data_sha256": _digest(sequences),
        "method": method,
        "encoder_sha256": None if encoder is None else sha256_of(encoder),
    }
    with suppress(OSError, ValueError, KeyError, TypeError, EdgernnError):
        kept = json.loads(path.read_text())
        if kept["key"] == key:
            return Ranges.from_json(kept["ranges"], str(path))
    ranges = make()
    content: dict[str, Any] = {"key": key, "ranges": ranges.to_json()}
    with suppress(OutputError):
        write_text(path, json.dumps(content) + "\n")
    return ranges


def _digest(sequences: Iterable[Mapping[str, Array]]) -> str:
    total = hashlib.sha256()
    for inputs in sequences:
        for name, value in sorted(inputs.items()):
            total.update(f"{name} {value.dtype.str} {value.shape} ".encode())
            total.update(value.tobytes())
        total.update(b"\n")
    return total.hexdigest()
