"""The verbs as functions. With the command line, the only code that uses every package."""

from edgernn.api.making import compile, export, export_run, quantize, search, train
from edgernn.api.opening import load
from edgernn.api.running import benchmark, compare, drift, evaluate, inspect

__all__ = [
    "benchmark",
    "compare",
    "compile",
    "drift",
    "evaluate",
    "export",
    "export_run",
    "inspect",
    "load",
    "quantize",
    "search",
    "train",
]
