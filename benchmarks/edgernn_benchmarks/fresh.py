"""Cold start and memory, measured in a fresh process that loads and runs only one model.

The child process is ``python -m edgernn_benchmarks.fresh``. Cold start is the time from the first
import (numpy) until the first output: importing numpy, edgernn_runtimes and the target's engine,
loading the model, and one call of the scenario. Not in it: starting the Python interpreter, and
reading from a cold disk (the files are in the operating system's cache after the first time).

Memory is the peak resident set after `CALLS` calls, minus that of the same process before it
imported the engine: engine, model and buffers count, Python and numpy do not.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgernn.errors import EdgernnError
from edgernn_benchmarks.scenarios import Scenario, parse

CALLS = 20
TIMEOUT_S = 300.0
_MARK = "edgernn-fresh:"


@dataclass(frozen=True)
class ColdStart:
    """Hold what fresh processes measured: the medians over all of them.

    Attributes:
        import_ms: Importing numpy, edgernn_runtimes and the engine.
        load_ms: Loading the model on the target.
        first_output_ms: Opening a stream if the scenario needs one, and the first call.
        peak_memory_bytes: See the module.
        engine_memory_bytes: Part of the peak that importing the engine alone takes.
        processes: How many processes were started.
    """

    import_ms: float
    load_ms: float
    first_output_ms: float
    peak_memory_bytes: int
    engine_memory_bytes: int
    processes: int

    @property
    def total_ms(self) -> float:
        """Cold start: import, load and first output."""
        return self.import_ms + self.load_ms + self.first_output_ms


def measure_cold_start(
    path: Path,
    target: str,
    scenario: Scenario,
    *,
    options: Mapping[str, Any],
    seed: int,
    sizes: Mapping[str, int] | None = None,
    processes: int = 3,
) -> ColdStart | str:
    """Start fresh processes one after another and return the medians, or why there are none.

    Args:
        path: Model file.
        target: Key of `edgernn_runtimes.TARGETS`.
        scenario: How it is called.
        options: Load options of the target.
        seed: Of the inputs.
        sizes: Of their dynamic axes, see `make_inputs`.
        processes: How many, at least one.
    """
    known = [dict(options), seed, dict(sizes or {})]
    asked = json.dumps([str(path.resolve()), target, str(scenario), *known])
    results: list[dict[str, float]] = []
    for _ in range(processes):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edgernn_benchmarks.fresh", asked],
                capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"cold start: no output after {TIMEOUT_S:.0f} s"
        answers = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
        if done.returncode != 0 or not answers:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return f"cold start: the fresh process ended with {done.returncode}: {last[:300]}"
        results.append(json.loads(answers[-1].removeprefix(_MARK)))
    middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
    return ColdStart(
        import_ms=middle["import_ms"],
        load_ms=middle["load_ms"],
        first_output_ms=middle["first_output_ms"],
        peak_memory_bytes=int(middle["peak_memory_bytes"]),
        engine_memory_bytes=int(middle["engine_memory_bytes"]),
        processes=processes,
    )


def peak_resident_bytes() -> int:
    """Return this process's peak resident set.

    Linux reports it as ``VmHWM``. ``ru_maxrss`` would include the parent's memory there, because
    it survives ``exec``; it is used only where there is no ``/proc``.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _child(asked: str) -> dict[str, float]:
    path, target, text, options, seed, sizes = json.loads(asked)
    scenario = parse(text)
    start = perf_counter_ns()
    import numpy  # noqa: F401  (timed, and part of the memory baseline)

    import edgernn_runtimes
    from edgernn_benchmarks.opening import open_session

    before = peak_resident_bytes()
    edgernn_runtimes.probe(target)  # imports the engine
    imported = perf_counter_ns()
    engine = peak_resident_bytes()
    session = open_session(path, target, **options)
    loaded = perf_counter_ns()
    from edgernn_benchmarks.inputs import make_inputs

    inputs = make_inputs(session, scenario.steps, scenario.batch, seed=seed, sizes=sizes)
    ready = perf_counter_ns()
    call = session.stream(scenario.batch).step if scenario.streams else session.run
    call(inputs)
    first = perf_counter_ns()
    for _ in range(CALLS - 1):
        call(inputs)
    return {
        "import_ms": (imported - start) / 1e6,
        "load_ms": (loaded - imported) / 1e6,
        "first_output_ms": (first - ready) / 1e6,
        "peak_memory_bytes": peak_resident_bytes() - before,
        "engine_memory_bytes": engine - before,
    }


def main() -> int:
    """Run as the child process: read the request from the command line, print one line."""
    try:
        print(_MARK + json.dumps(_child(sys.argv[1])))
    except EdgernnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 7
    return 0


if __name__ == "__main__":
    sys.exit(main())
