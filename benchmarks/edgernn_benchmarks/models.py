"""The model files of a benchmark: size, hash, metadata, and which one the others derive from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgernn.errors import EdgernnError, ModelError
from edgernn.files import sha256_of
from edgernn.metadata import Metadata

_BROKEN = "{file}: not a readable ONNX file ({reason}); export it again, or name another file"


@dataclass(frozen=True)
class ModelFile:
    """Describe one model file.

    Attributes:
        path: Where it is.
        label: Its name in reports: the file name, with as many parent folders as tell it apart.
        sha256: Of the file.
        size_bytes: Of the file and the external data it names.
        metadata: What it says about itself; empty if it is broken.
        error: Why it cannot be read, or None.
    """

    path: Path
    label: str
    sha256: str
    size_bytes: int
    metadata: Metadata
    error: str | None


def describe(paths: Sequence[str | os.PathLike[str]]) -> list[ModelFile]:
    """Read what the report says about each model file.

    Raises:
        ModelError: A file does not exist or cannot be read; one that is no ONNX model is
            described with its ``error``.
    """
    files = [Path(path) for path in paths]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file}: no such file; name an ONNX file")
    return [_describe_one(file, label) for file, label in zip(files, labels(files), strict=True)]


def labels(files: Sequence[Path]) -> list[str]:
    """Return the shortest path endings that differ, in order.

    Example:
        >>> labels([Path("a/m.onnx"), Path("b/m.onnx")])
        ['a/m.onnx', 'b/m.onnx']
    """
    parts = [file.absolute().parts for file in files]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(set(parts)):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def reference_of(models: Sequence[ModelFile]) -> ModelFile:
    """Return the model whose numbers are taken as right.

    That is the first float32 model that another one names as its parent, else the first model.
    """
    parents = {model.metadata.parent for model in models}
    for model in models:
        if model.metadata.precision == "float32" and model.sha256 in parents:
            return model
    return models[0]


def _describe_one(file: Path, label: str) -> ModelFile:
    try:
        return ModelFile(file, label, sha256_of(file), *_read(file))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"{file}: cannot be read: {reason}; name a readable ONNX file") from None


def _read(file: Path) -> tuple[int, Metadata, str | None]:
    import onnx

    size = file.stat().st_size
    try:
        model = onnx.load(file, load_external_data=False)
        props = {entry.key: entry.value for entry in model.metadata_props}
        metadata = Metadata.from_props(props, str(file))
    except EdgernnError as error:
        return size, Metadata(), str(error)
    except Exception as error:  # protobuf's error types vary with its implementation
        reason = (str(error).splitlines() or [""])[0]
        return size, Metadata(), _BROKEN.format(file=file, reason=reason[:200])
    if not model.graph.node:  # an empty file is a valid, empty message
        return size, Metadata(), _BROKEN.format(file=file, reason="it holds no graph")
    names = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and Path(entry.value).name == entry.value
    }
    beside = [file.with_name(name) for name in sorted(names)]
    return size + sum(path.stat().st_size for path in beside if path.is_file()), metadata, None
