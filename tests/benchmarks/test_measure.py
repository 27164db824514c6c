from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from edgernn.errors import InputError, UsageError
from edgernn_benchmarks import measure as module
from edgernn_benchmarks.measure import UNTIMED_CALLS, Job, Limit, measure, timer_overhead_ns


def recorder(name: str, log: list[str]) -> Job:
    return Job(name, lambda argument: log.append(name), [None])


def test_jobs_take_turns() -> None:
    log: list[str] = []
    jobs = [recorder(name, log) for name in "ABC"]
    measure(jobs, Limit(iterations=40), warmup=4)
    after_warmup = "".join(log)[12:]
    turn = UNTIMED_CALLS + 2
    assert after_warmup == "".join(name * turn for name in "ABC") * 20
    assert all(job.turns == [2] * 20 and len(job.samples_ns) == 40 for job in jobs)


@pytest.mark.parametrize("iterations", [1, 7, 20, 50, 333])
def test_iterations_are_exact(iterations: int) -> None:
    job = recorder("A", [])
    measure([job], Limit(iterations=iterations), warmup=0)
    assert len(job.samples_ns) == sum(job.turns) == iterations


def test_duration_is_reached_in_many_turns() -> None:
    job = Job("sleep", lambda argument: time.sleep(0.0005), [None])
    measure([job], Limit(duration_s=0.1), warmup=3)
    assert sum(job.samples_ns) >= 0.1e9
    assert len(job.turns) >= 10
    assert min(job.samples_ns) >= 500_000


def test_a_fast_job_stops_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 200)
    job = recorder("A", [])
    measure([job], Limit(duration_s=60), warmup=0)
    assert len(job.samples_ns) == 200
    assert len(job.turns) > 100  # spread over the rounds, not taken at once


def test_arguments_go_round_and_reset_comes_before_each_turn() -> None:
    log: list[object] = []
    job = Job("A", log.append, [0, 1, 2], reset=lambda: log.append("reset"))
    measure([job], Limit(iterations=20), warmup=3)
    assert log.count("reset") == 21
    numbers = [entry for entry in log if entry != "reset"]
    assert numbers == [index % 3 for index in range(len(numbers))]


def failing(error: BaseException, after: int) -> Callable[[object], None]:
    calls = 0

    def call(argument: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error

    return call


def test_a_failing_job_leaves_and_the_others_go_on() -> None:
    good = recorder("good", [])
    ours = Job("ours", failing(InputError("bad data; do better"), 0), [None])
    foreign = Job("foreign", failing(ZeroDivisionError("oops"), 30), [None])
    measure([ours, good, foreign], Limit(iterations=100), warmup=3)
    assert ours.error == "bad data; do better"
    assert foreign.error == "failed unexpectedly: ZeroDivisionError: oops"
    assert len(good.samples_ns) == 100


def test_an_interrupt_keeps_finished_turns() -> None:
    good = recorder("good", [])
    stopped = Job("stopped", failing(KeyboardInterrupt(), 50), [None])
    with pytest.raises(KeyboardInterrupt):
        measure([good, stopped], Limit(iterations=100), warmup=3)
    assert 0 < len(stopped.samples_ns) < 100
    assert sum(stopped.turns) == len(stopped.samples_ns)


def test_the_collector_is_off_only_while_timing() -> None:
    seen: list[bool] = []
    measure([Job("A", lambda a: seen.append(gc.isenabled()), [0])], Limit(iterations=5), warmup=3)
    assert seen[:3] == [True] * 3
    assert not any(seen[3:])
    assert gc.isenabled()


def test_progress_ends_at_one() -> None:
    shares: list[float] = []
    measure([recorder("A", [])], Limit(iterations=40), warmup=0, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("duration", "iterations"),
    [(None, None), (0.0, None), (-1.0, None), (float("nan"), None), (None, 0), (None, 10**6)],
)
def test_limits_out_of_range(duration: float | None, iterations: int | None) -> None:
    with pytest.raises(UsageError):
        Limit(duration, iterations)


def test_negative_warmup() -> None:
    with pytest.raises(UsageError, match="warm-up"):
        measure([], Limit(iterations=1), warmup=-1)


def test_timer_overhead_is_small() -> None:
    assert 0 <= timer_overhead_ns() < 100_000
