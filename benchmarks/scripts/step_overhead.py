"""Measure what `Stream.step` costs over a hand-written loop that feeds the state back.

Both run the same ONNX file with one thread in one process, on the same inputs, and take turns
(A B A B …), because a machine's speed drifts by more than the difference. The loop is what a user
would write: ``session.run(names, {"x": x, **state})`` with the state taken from the result. Like
the stream it asks for all outputs; unlike the stream it checks nothing.

The ratio is the median of the rounds' ratios of medians, with its 95 % interval; the table and
the JSON file (all samples) say whether it is within the limit, and so does the exit code: 0 or 6.

    python benchmarks/scripts/step_overhead.py --model kw.onnx --duration 5
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import edgernn_runtimes
from edgernn.errors import EdgernnError, ModelError, PerformanceGateError
from edgernn.files import sha256_of, write_text
from edgernn.sessions import Array
from edgernn_benchmarks import environment
from edgernn_benchmarks.inputs import make_inputs, split_steps
from edgernn_benchmarks.measure import Job, Limit, measure
from edgernn_benchmarks.report_format import duration
from edgernn_benchmarks.statistics import compare_turns, summarize

RESULTS = Path(__file__).resolve().parents[1] / "results"
INPUT_STEPS = 256


class HandWritten:
    """The loop over ``onnxruntime.InferenceSession.run`` that a user writes by hand."""

    def __init__(self, path: Path, states: dict[str, str], zeros: dict[str, Array]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        returned = set(states.values())
        outputs = [node.name for node in self._session.get_outputs()]
        self._names = [name for name in outputs if name not in returned] + list(states.values())
        self._plain = len(self._names) - len(states)
        self._inputs = list(states)
        self._zeros = zeros
        self._x = next(n.name for n in self._session.get_inputs() if n.name not in states)
        self.reset()

    def reset(self) -> None:
        """Return to the initial state."""
        self._state = dict(self._zeros)

    def step(self, x: Array) -> Array:
        """Run one call and keep the state for the next."""
        values = self._session.run(self._names, {self._x: x, **self._state})
        self._state = dict(zip(self._inputs, values[self._plain :], strict=True))
        result: Array = values[0]
        return result


def jobs_for(path: Path) -> tuple[Job, Job]:
    """Return the loop and the stream, after checking that they compute the same."""
    session = edgernn_runtimes.load(path, "cpu", threads=1)
    contract = session.metadata.contract
    if contract is None or len(session.inputs) != 1 or len(session.outputs) != 1:
        raise ModelError(f"{path}: needs a state contract, one input and one output")
    stream = session.stream()
    zeros = stream.state
    states = {state.input: state.output for state in contract.states}
    loop = HandWritten(path, states, zeros)
    inputs = make_inputs(session, INPUT_STEPS, 1, seed=0)
    steps = [next(iter(piece.values())) for piece in split_steps(session, inputs, 1)]
    for x in steps:
        if not np.array_equal(loop.step(x), stream.step(x)):
            raise ModelError(f"{path}: the stream and the loop give different outputs")
    return (
        Job("loop over InferenceSession.run", loop.step, steps, reset=loop.reset),
        Job("Stream.step", stream.step, steps, reset=stream.reset),
    )


def measured(path: Path, seconds: float) -> dict[str, Any]:
    """Time both and return the JSON object, samples included."""
    jobs = jobs_for(path)
    surroundings = {**environment.capture(), "before": environment.conditions()}
    measure(jobs, Limit(duration_s=seconds), warmup=1000)
    loop, stream = jobs
    ratio = compare_turns(loop.samples_ns, loop.turns, stream.samples_ns, stream.turns)
    return {
        "model": path.name,
        "model_sha256": sha256_of(path),
        "ratio": {"median": ratio.ratio, "low": ratio.low, "high": ratio.high,
                  "rounds": ratio.rounds},
        "rows": [
            {
                "name": job.name,
                **vars(summarize(job.samples_ns, steps=1, batch=1)),
                "samples_ns": job.samples_ns,
                "turns": job.turns,
            }
            for job in jobs
        ],
        "environment": {**surroundings, "after": environment.conditions()},
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="ONNX file with a state contract")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of timed calls each")
    parser.add_argument("--limit", type=float, default=1.1, help="largest ratio allowed")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "step_overhead.json")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    try:
        result = measured(given.model, given.duration)
        ratio = result["ratio"]
        result |= {"limit": given.limit, "passed": ratio["median"] <= given.limit}
        write_text(given.output, json.dumps(result) + "\n")
        print(f"{'':32} {'p50':>9} {'p90':>9} {'p99':>9}")
        for row in result["rows"]:
            times = " ".join(f"{duration(row[k]):>9}" for k in ("p50_us", "p90_us", "p99_us"))
            print(f"{row['name']:32} {times}")
        interval = "" if ratio["low"] is None else f" ({ratio['low']:.3f} to {ratio['high']:.3f})"
        print(f"ratio of medians {ratio['median']:.3f}{interval}, limit {given.limit}")
        if not result["passed"]:
            raise PerformanceGateError(f"Stream.step takes {ratio['median']:.3f} times the loop")
    except EdgernnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
