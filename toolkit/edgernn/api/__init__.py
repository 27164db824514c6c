"""The verbs as functions. With the command line, the only code that uses every package."""

from edgernn.api.making import (
    compile,
    export,
    export_pair,
    export_run,
    import_onnx,
    quantize,
    search,
    train,
)
from edgernn.api.opening import encoder_of, load, open_pair
from edgernn.api.running import benchmark, compare, drift, evaluate, inspect

__all__ = [
    "benchmark",
    "compare",
    "compile",
    "drift",
    "encoder_of",
    "evaluate",
    "export",
    "export_pair",
    "export_run",
    "import_onnx",
    "inspect",
    "load",
    "open_pair",
    "quantize",
    "search",
    "train",
]
