"""Read a foreign ONNX file, with limits."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.checking import check
from edgernn_exporters.onnx_import.external import load_external
from edgernn_exporters.onnx_import.limits import DEFAULT, Limits
from edgernn_exporters.onnx_import.tensors import densify, mend_weights


@dataclass(frozen=True)
class Source:
    """A foreign file that has been read.

    Attributes:
        model: What it holds, data of other files included.
        sha256: Of the file, without other files.
        bytes: Its size, other files included.
        flushed: Denormal numbers in its constants that are zero now.
    """

    model: onnx.ModelProto
    sha256: str
    bytes: int
    flushed: int


def read(path: str | os.PathLike[str], limits: Limits = DEFAULT) -> Source:
    """Read and check a foreign ONNX file.

    It is parsed and checked in a process of its own first, which may crash.

    Raises:
        ModelError: The file is missing, too large, broken, or unsafe; does not name the file.

    Example:
        >>> read("model.onnx").model.opset_import[0].version
        17
    """
    file = Path(path)
    content = _content(file, limits.file_bytes)
    check(content, limits.tensor_bytes)
    model = onnx.load_model_from_string(content)
    digest, size = hashlib.sha256(content).hexdigest(), len(content)
    del content
    others = load_external(model, file.parent)
    size += sum((file.parent / name).stat().st_size for name in others)
    densify(model)
    flushed = mend_weights(model)
    return Source(model, digest, size, flushed)


def _content(file: Path, limit: int) -> bytes:
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer
        with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError("not a regular file; name an ONNX file")
            if status.st_size > limit:
                raise ModelError(
                    f"has {status.st_size:,} bytes, more than the {limit:,} that are allowed; if "
                    f"you trust it, allow more with --max-file"
                )
            return stream.read(limit + 1)[:limit]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"cannot be read: {reason}") from None
