"""Take recurrent networks from PyTorch to the devices they run on.

The verbs of the command line are functions here; each imports what it needs when it is first
used, so ``import edgernn`` is quick and needs neither PyTorch nor a runtime.

Example:
    >>> import edgernn
    >>> edgernn.export(model, (torch.zeros(1, 100, 40),), "model.onnx")
    >>> edgernn.quantize("model.onnx", "model.int8.onnx", precision="int8-dynamic")
    >>> stream = edgernn.load("model.int8.onnx", target="native").stream()
    >>> y = stream.step(x)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgernn.api import (
        benchmark,
        compare,
        compile,
        evaluate,
        export,
        export_pair,
        import_onnx,
        inspect,
        load,
        open_pair,
        quantize,
        train,
    )
    from edgernn.errors import EdgernnError
    from edgernn.sessions import Session, Stream

_PUBLIC = {
    "benchmark": "edgernn.api",
    "compare": "edgernn.api",
    "compile": "edgernn.api",
    "evaluate": "edgernn.api",
    "export": "edgernn.api",
    "export_pair": "edgernn.api",
    "import_onnx": "edgernn.api",
    "inspect": "edgernn.api",
    "load": "edgernn.api",
    "open_pair": "edgernn.api",
    "quantize": "edgernn.api",
    "train": "edgernn.api",
    "EdgernnError": "edgernn.errors",
    "Session": "edgernn.sessions",
    "Stream": "edgernn.sessions",
}

__all__ = [
    "EdgernnError",
    "Session",
    "Stream",
    "benchmark",
    "compare",
    "compile",
    "evaluate",
    "export",
    "export_pair",
    "import_onnx",
    "inspect",
    "load",
    "open_pair",
    "quantize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgernn' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
