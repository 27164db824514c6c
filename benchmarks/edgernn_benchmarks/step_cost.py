"""What one time step of a model takes on a target, for a search that limits it."""

from __future__ import annotations

from pathlib import Path

from edgernn.errors import ModelError, TargetUnavailable, UsageError
from edgernn_benchmarks.harness import benchmark
from edgernn_exporters.search import Cost
from edgernn_runtimes import TARGETS, probe

CALLS = 1000
"""Timed calls of each model."""


def step_cost(
    target: str, max_latency_us: float | None = None, max_instructions: int | None = None
) -> Cost | None:
    """Return how the time or the instructions of one step are measured, if they are limited.

    Args:
        target: Where models run, a key of `edgernn_runtimes.TARGETS`.
        max_latency_us: Limit of the median time; None for no limit.
        max_instructions: Limit of the instructions on an emulated target; None for no limit.

    Raises:
        UsageError: There is no such target, or it has not what is limited.
        TargetUnavailable: Something is limited and the target is not on this machine.
    """
    here = probe(target)
    if max_latency_us is None and max_instructions is None:
        return None
    emulated = "board" in TARGETS[target].options
    if max_instructions is not None and not emulated:
        raise UsageError(
            f"instructions are counted on emulated targets, and {target} is none; limit the "
            f"latency, or choose another target"
        )
    if max_latency_us is not None and emulated:
        raise UsageError(
            f"an emulated {target} says nothing of time; limit the instructions of a step"
        )
    if not here.available:
        raise TargetUnavailable(f"target {target}: {here.detail}; {here.remedy}")

    def of(path: Path) -> float:
        row = benchmark([path], [target], ["step"], iterations=CALLS, cold_starts=0).rows[0]
        value = row.instructions_per_step if emulated else row.p50_us
        if value is None:
            raise ModelError(row.error or f"{path} was not measured on {target}")
        return value

    return Cost(of, "instructions" if emulated else "us")
