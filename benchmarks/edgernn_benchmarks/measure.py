"""Time calls of several jobs in alternating turns, and keep every sample.

All jobs take turns, A B C A B C …, so that drift of the machine (heat, clocks, neighbours) hits
all alike. A turn is a few milliseconds of back-to-back calls. Its first calls are not timed: they
bring back the caches that the other jobs used. Python's garbage collector is off in a turn.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter_ns
from typing import Any

from edgernn.errors import EdgernnError, UsageError

MAX_SAMPLES = 20_000
"""Samples a job; a duration that would need more ends early, spread over the same rounds."""

UNTIMED_CALLS = 2
_TURN_S = 0.02
_MIN_ROUNDS, _MAX_ROUNDS = 20, 500


@dataclass(frozen=True)
class Limit:
    """Say when a job is done: with both given, when both are reached.

    Attributes:
        duration_s: Seconds of timed calls, or None.
        iterations: Timed calls, or None.
    """

    duration_s: float | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing.

        Raises:
            UsageError: No limit, or one out of range.
        """
        if self.duration_s is None and self.iterations is None:
            raise UsageError("say how long to measure: a duration in seconds or a number of calls")
        if self.duration_s is not None and not 0 < self.duration_s <= 86_400:
            raise UsageError(f"the duration must be 0 to 86400 s, not {self.duration_s}")
        if self.iterations is not None and not 1 <= self.iterations <= MAX_SAMPLES:
            raise UsageError(
                f"iterations must be 1 to {MAX_SAMPLES} (every sample is kept), "
                f"not {self.iterations}"
            )

    def rounds(self) -> int:
        """Return into how many turns a job's calls are split."""
        wanted = _MIN_ROUNDS
        if self.duration_s is not None:
            wanted = min(max(math.ceil(self.duration_s / _TURN_S), _MIN_ROUNDS), _MAX_ROUNDS)
        elif self.iterations is not None:
            wanted = min(wanted, self.iterations)
        return wanted

    def reached(self, calls: int, spent_ns: int) -> bool:
        """Say whether a job is done."""
        if calls >= MAX_SAMPLES:
            return True
        enough_time = self.duration_s is None or spent_ns >= self.duration_s * 1e9
        return enough_time and (self.iterations is None or calls >= self.iterations)


@dataclass
class Job:
    """One thing to time, and what was measured of it.

    Attributes:
        name: For messages.
        call: Called with one argument; only this is timed.
        arguments: Given to ``call`` in order, over and over.
        reset: Called before each turn, untimed.
        samples_ns: Time of each call.
        turns: Number of samples of each turn.
        error: Why it failed, or None.
    """

    name: str
    call: Callable[[Any], object]
    arguments: Sequence[Any]
    reset: Callable[[], object] = lambda: None
    samples_ns: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    error: str | None = None
    _next: int = 0

    def run(self, count: int) -> list[int]:
        """Call ``count`` times and return the times; on an interrupt nothing is recorded."""
        call, arguments, size = self.call, self.arguments, len(self.arguments)
        times: list[int] = []
        for index in range(self._next, self._next + count):
            argument = arguments[index % size]
            start = perf_counter_ns()
            call(argument)
            times.append(perf_counter_ns() - start)
        self._next = (self._next + count) % size
        return times


def measure(
    jobs: Sequence[Job],
    limit: Limit,
    *,
    warmup: int = 10,
    progress: Callable[[float], object] | None = None,
) -> None:
    """Warm up each job, then time all in alternating turns; samples are kept in the jobs.

    A job that raises gets its ``error`` and leaves; the others go on. A KeyboardInterrupt passes
    through, and the samples of finished turns stay in the jobs.

    Args:
        jobs: What to time, in order.
        limit: When a job is done.
        warmup: Untimed calls of each job before the first turn.
        progress: Told the finished share, 0 to 1, between rounds; never inside a turn.

    Raises:
        UsageError: ``warmup`` is negative.
    """
    if warmup < 0:
        raise UsageError(f"warm-up calls must be 0 or more, not {warmup}")
    rounds = limit.rounds()
    calls = {id(job): _attempt(job, partial(_warm, job, warmup, limit)) for job in jobs}
    gc.collect()
    active = [job for job in jobs if job.error is None]
    finished = 0
    while active:
        for job in active:
            _attempt(job, partial(_turn, job, calls[id(job)] or 1, limit))
        active = [
            job for job in active
            if job.error is None and not limit.reached(len(job.samples_ns), sum(job.samples_ns))
        ]  # fmt: skip
        finished += 1
        if progress is not None:
            progress(min(finished / rounds, 1.0))


def _warm(job: Job, warmup: int, limit: Limit) -> int:
    """Run the warm-up and return how many calls make one turn."""
    job.reset()
    times = job.run(max(warmup, 3))
    typical_ns = max(sorted(times[len(times) // 2 :])[len(times) // 4], 1)
    total = limit.iterations or 1
    if limit.duration_s is not None:
        total = max(total, math.ceil(limit.duration_s * 1e9 / typical_ns))
    return math.ceil(min(total, MAX_SAMPLES) / limit.rounds())


def _turn(job: Job, calls: int, limit: Limit) -> int:
    job.reset()
    most = MAX_SAMPLES
    if limit.duration_s is None and limit.iterations is not None:
        most = limit.iterations
    calls = min(calls, most - len(job.samples_ns))
    with _collector_paused():
        job.run(UNTIMED_CALLS)
        times = job.run(calls)
    job.samples_ns += times
    job.turns.append(len(times))
    return calls


def _attempt(job: Job, action: Callable[[], int]) -> int | None:
    try:
        return action()
    except Exception as error:  # a fault of one target must not lose the others' results
        job.error = explain(error)
    return None


def explain(error: Exception) -> str:
    """Return an error's message; a foreign error's says that it was not expected."""
    if isinstance(error, EdgernnError):
        return str(error)
    return f"failed unexpectedly: {type(error).__name__}: {error}"


@contextmanager
def _collector_paused() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def timer_overhead_ns(repeats: int = 1001) -> int:
    """Return the median time between two readings of the clock, which each sample contains."""
    times = []
    for _ in range(repeats):
        start = perf_counter_ns()
        times.append(perf_counter_ns() - start)
    return sorted(times)[repeats // 2]
