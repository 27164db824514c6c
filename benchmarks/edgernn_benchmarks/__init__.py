"""The benchmark harness: scenarios, measurements, statistics and reports.

`benchmark` measures models on targets and returns a `Report`. The names are imported when they
are first used, because a fresh process that measures its own cold start imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgernn_benchmarks.harness import benchmark
    from edgernn_benchmarks.report import Report, Row
    from edgernn_benchmarks.scenarios import Scenario

__all__ = ["Report", "Row", "Scenario", "benchmark"]

_HOMES = {"benchmark": "harness", "Report": "report", "Row": "report", "Scenario": "scenarios"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
