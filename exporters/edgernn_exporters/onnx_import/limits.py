"""How much a foreign file may ask for."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE_BYTES = 1 << 30
MAX_TENSOR_BYTES = 1 << 30
MAX_NODES = 200_000
CHECK_SECONDS = 300
CHECK_BYTES = 1 << 29
"""Memory for the check of a small file; each byte of a file adds eight."""
PROOF_BYTES = 1 << 32
"""Memory for the proof of a small file; each byte of a file adds eight."""
PROTOBUF_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Limits:
    """Bound what reading a file may cost.

    Attributes:
        file_bytes: Size of the ONNX file, without data in other files.
        tensor_bytes: Size of all its constants together, and of any single value that it computes
            (with one row and one time step).
    """

    file_bytes: int = MAX_FILE_BYTES
    tensor_bytes: int = MAX_TENSOR_BYTES


DEFAULT = Limits()
