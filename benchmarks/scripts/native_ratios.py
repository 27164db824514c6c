"""Measure generated C against ONNX Runtime and emx-onnx-cgen, in one run, and check the limits.

LSTM and GRU of three sizes with a linear layer, random weights, batch 1, one thread. Everything
that is compared takes turns in one process. What is timed of each model:

- one step of a live stream from Python (``Stream.step``): float32, int8-dynamic, int8, w8a16 and
  int4 on the target, float32 and ONNX Runtime's own dynamic quantization on ``cpu``;
- the same step from a loop in C: the target's function and that of emx-onnx-cgen
  (``-O3 -march=native -ffast-math``);
- 100 steps in one call of ``Session.run``;
- a loop in C that only reads as many bytes as the model has weights. Every step must read them, so
  no code can be quicker; "the most there could be" says what ratio that would give.

A ratio says how many times faster the target is: the median of the rounds' ratios of medians, with
its 95 % interval. "The better" is ONNX Runtime's float32 or its quantization, whichever has the
lower median. Prints all ratios, keeps all samples, ends with 0 or 6.

    python benchmarks/scripts/native_ratios.py
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import edgernn
import edgernn_runtimes
from edgernn.errors import EdgernnError, ModelError, PerformanceGateError
from edgernn.files import check_writable, write_text
from edgernn.sessions import Array, Session
from edgernn_benchmarks import environment
from edgernn_benchmarks.c_loop import CLoop, read_loop
from edgernn_benchmarks.candidates import job_for
from edgernn_benchmarks.inputs import make_inputs
from edgernn_benchmarks.measure import Job, Limit, measure
from edgernn_benchmarks.opening import load_options, open_session
from edgernn_benchmarks.peers import emx, onnxruntime_int8
from edgernn_benchmarks.peers.engine import FLOAT, INT8, Tolerance
from edgernn_benchmarks.scenarios import parse
from edgernn_benchmarks.statistics import compare_turns, sign_test_interval

RESULTS = Path(__file__).resolve().parents[1] / "results"
SIZES = ("40,64,1", "64,128,2", "128,256,2")
OUTPUTS, SEQUENCE, LOOP, INPUTS = 10, 100, 32, 64
F32, I8 = "float32", "int8-dynamic"
ORT, ORT_I8, EMX = "onnxruntime float32", "onnxruntime int8", "emx float32"
INTEGER = ("int8", "w8a16", "int4")
READ = {name: f"read {name}" for name in (F32, I8, *INTEGER)}


@dataclass(frozen=True)
class Gate:
    """One of the promised numbers.

    Attributes:
        title: What is compared.
        candidate: Name of the target's row.
        baselines: Names of the rows that it is compared with; the quickest counts.
        each: Least ratio of every model, or None.
        mean: Least geometric mean, or None.
        part: ``"step"``, ``"C step"`` or ``"sequence"``.
    """

    title: str
    candidate: str
    baselines: tuple[str, ...]
    part: str
    each: float | None = None
    mean: float | None = None


GATES = (
    Gate("float32 step, against ONNX Runtime", F32, (ORT,), "step", 2.0, 2.5),
    Gate("float32 step in C, against emx-onnx-cgen", F32, (EMX,), "C step", 2.0),
    Gate("int8-dynamic step, against the better", I8, (ORT, ORT_I8), "step", 4.0, 5.0),
    Gate("float32 sequence:100, against ONNX Runtime", F32, (ORT,), "sequence", 1.0),
    Gate("int8-dynamic sequence:100, against the better", I8, (ORT, ORT_I8), "sequence", 1.5),
    Gate("float32 sequence:100, against the better", F32, (ORT, ORT_I8), "sequence"),
    *(Gate(f"{name} step in C, against int8-dynamic", name, (I8,), "C step") for name in INTEGER),
)
OVERHEAD_LIMIT_US = 2.0


@dataclass(frozen=True)
class Timed:
    """What was timed of one model: jobs by part and name."""

    model: str
    jobs: dict[tuple[str, str], Job]

    def ratio(self, gate: Gate) -> dict[str, Any] | None:
        """Return a gate's ratio; None where a part was not measured."""
        candidate = self.jobs.get((gate.part, gate.candidate))
        rivals = {name: self.jobs.get((gate.part, name)) for name in gate.baselines}
        if candidate is None or None in rivals.values():
            return None
        name, rival = min(rivals.items(), key=lambda item: _median(item[1]))
        assert rival is not None
        found = compare_turns(candidate.samples_ns, candidate.turns, rival.samples_ns, rival.turns)
        return {"model": self.model, "baseline": name, **_interval(found.ratio, found.low,
                found.high), "most": self._most(gate, rival),
                "passed": gate.each is None or found.ratio >= gate.each}  # fmt: skip

    def _most(self, gate: Gate, rival: Job) -> float | None:
        """Return the ratio that reading the weights once a step would give."""
        read = self.jobs.get(("C step", READ[gate.candidate]))
        if read is None or gate.part == "sequence":
            return None
        step = _median(rival) / (LOOP if gate.part == "C step" else 1)
        return step / (_median(read) / LOOP)

    def overhead(self, precision: str) -> dict[str, Any] | None:
        """Return by how many microseconds ``Stream.step`` is slower than the C call."""
        step, call = self.jobs.get(("step", precision)), self.jobs.get(("C step", precision))
        if step is None or call is None:
            return None
        over = np.sort([
            (a - b / LOOP) / 1e3 for a, b in zip(_turn_medians(step), _turn_medians(call),
                                                 strict=False)
        ])  # fmt: skip
        middle = float(np.median(over))
        return {"model": self.model, "precision": precision,
                **_interval(middle, *sign_test_interval(over)),
                "passed": middle <= OVERHEAD_LIMIT_US}  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return the samples; those of "C step" are of `LOOP` steps each."""
        rows = [
            {"part": part, "name": name, "steps_a_sample": LOOP if part == "C step" else 1,
             "turns": job.turns, "samples_ns": job.samples_ns}
            for (part, name), job in self.jobs.items()
        ]  # fmt: skip
        return {"model": self.model, "rows": rows}


def timed(cell: str, size: str, target: str, calls: int, folder: Path) -> Timed:
    """Make one model in all forms, check that they compute the same, and time them."""
    plain, small, theirs = (folder / f"{name}.onnx" for name in ("plain", "small", "theirs"))
    _write(cell, size, plain)
    edgernn.quantize(plain, small)
    onnxruntime_int8.quantize(plain, theirs)
    sessions = {
        ORT: open_session(plain, "cpu", threads=1),
        ORT_I8: open_session(theirs, "cpu", threads=1),
        F32: open_session(plain, target, **load_options(target, 1)),
        I8: open_session(small, target, **load_options(target, 1)),
    }
    inputs = make_inputs(sessions[ORT], SEQUENCE, 1, seed=0)
    right = sessions[ORT].run(inputs)["y"]
    for name, session in sessions.items():
        _same(name, right, session.run(inputs)["y"], FLOAT if name == F32 else INT8)
    sessions |= _integer_sessions(plain, target, inputs, folder)
    x = np.ascontiguousarray(inputs["x"][0, :INPUTS])
    loops = {name: _native_loop(sessions[name], x) for name in READ}
    with _emx_loop(plain, x, wanted=loops[F32] is not None) as emx_loop:
        jobs: dict[tuple[str, str], Job] = {
            ("step", name): job_for(session, parse("step"), seed=0)
            for name, session in sessions.items()
        }
        for name, loop in {**loops, EMX: emx_loop}.items():
            if loop is not None:
                jobs["C step", name] = Job(name, loop, [LOOP])
        for name, job in READ.items():
            if (project := getattr(sessions[name], "project", None)) is not None:
                jobs["C step", job] = Job(job, read_loop(project.weight_bytes), [LOOP])
        measure(list(jobs.values()), Limit(iterations=calls))
    wholes = {
        ("sequence", name): job_for(session, parse(f"sequence:{SEQUENCE}"), seed=0)
        for name, session in sessions.items()
    }
    measure(list(wholes.values()), Limit(iterations=max(20, calls // 4)))
    failed = [job for job in [*jobs.values(), *wholes.values()] if job.error]
    if failed:
        raise ModelError(f"{cell} {size}: {failed[0].name} failed: {failed[0].error}")
    for session in sessions.values():
        session.close()
    return Timed(f"{cell.upper()} {size}", jobs | wholes)


def _integer_sessions(
    plain: Path, target: str, inputs: dict[str, Array], folder: Path
) -> dict[str, Session]:
    """Quantize to integers, and check that the target gives what ONNX Runtime gives."""
    data, sessions = folder / "calibration.npz", {}
    np.savez(data, x=inputs["x"])
    for name in INTEGER:
        path = folder / f"{name}.onnx"
        edgernn.quantize(plain, path, precision=name, calibration=data)
        sessions[name] = open_session(path, target, **load_options(target, 1))
        right = open_session(path, "cpu", threads=1).run(inputs)["y"]
        if not np.array_equal(sessions[name].run(inputs)["y"], right):
            raise ModelError(f"{name} on {target} differs from ONNX Runtime")
    return sessions


@contextmanager
def _emx_loop(path: Path, x: Array, wanted: bool) -> Iterator[CLoop | None]:
    """Give a loop over the C function of emx-onnx-cgen; None if not installed or not wanted."""
    if not emx.probe().available or not wanted:
        yield None
        return
    session = emx.load(path)
    shapes = session.model.step_shapes()
    assert shapes is not None
    assert isinstance(session.engine, emx.EmxEngine)
    call = emx.arguments(session.model, shapes)
    address = ctypes.cast(session.engine.function(shapes), ctypes.c_void_p).value or 0
    loop = CLoop(address, call.turns, call.turns[0].index(call.inputs[0].ctypes.data), x, keep=call)
    loop(len(x))
    right = open_session(path, "cpu", threads=1).run({"x": x[None]})["y"]
    _same(EMX, right[0, -1], call.outputs[0][0, 0], FLOAT)
    yield loop
    session.close()


def _native_loop(session: Session, x: Array) -> CLoop | None:
    """Return a loop over the C function of a session that has a library, else None."""
    project, path = getattr(session, "project", None), getattr(session, "library", None)
    if project is None or path is None:
        return None
    library = ctypes.CDLL(str(path))
    memory = np.zeros(project.state_bytes + project.scratch_bytes + 4096, np.uint8)
    state = memory.ctypes.data + -memory.ctypes.data % 64
    y = np.zeros(project.outputs[0].size, np.float32)
    getattr(library, f"{project.name}_init")(ctypes.c_void_p(state))
    step = ctypes.cast(getattr(library, f"{project.name}_step"), ctypes.c_void_p).value or 0
    turn = [state, x.ctypes.data, y.ctypes.data]
    loop = CLoop(step, (turn, turn), 1, x, keep=(library, memory, y))
    loop(len(x))
    _same("the C loop", session.run({"x": x[None]})["y"][0, -1], y, FLOAT)
    return loop


def _write(cell: str, size: str, path: Path) -> None:
    import torch

    from edgernn.training import ModelConfig, build_model

    inputs, hidden, layers = map(int, size.split(","))
    torch.manual_seed(0)
    model = build_model(ModelConfig(cell, inputs, hidden, OUTPUTS, layers))
    edgernn.export(model, (torch.zeros(1, 50, inputs),), path)


def _same(name: str, right: Array, given: Array, tolerance: Tolerance) -> None:
    off, allowed = np.abs(right - given).max(), tolerance.allowed(np.abs(right).max())
    if not off <= allowed:
        raise ModelError(f"{name} is off by {off:.3g}, where {allowed:.3g} is allowed")


def _median(job: Job | None) -> float:
    return math.inf if job is None else float(np.median(job.samples_ns))


def _turn_medians(job: Job) -> list[float]:
    ends = np.cumsum(job.turns)[:-1]
    return [float(np.median(part)) for part in np.split(np.asarray(job.samples_ns), ends)]


def _interval(middle: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"median": middle, "low": low, "high": high}


def judged(models: Sequence[Timed]) -> list[dict[str, Any]]:
    """Return each gate with its ratios, its geometric mean and whether it is passed."""
    results = []
    for gate in GATES:
        found = [ratio for model in models if (ratio := model.ratio(gate)) is not None]
        complete = len(found) == len(models)
        mean = math.exp(np.mean([math.log(r["median"]) for r in found])) if found else None
        passed = complete and all(r["passed"] for r in found)
        if gate.mean is not None:
            passed = passed and mean is not None and mean >= gate.mean
        if gate.each is None:
            passed = True  # for information
        results.append({
            "title": gate.title, "limit_each": gate.each, "limit_mean": gate.mean,
            "geometric_mean": mean, "passed": passed, "ratios": found,
        })  # fmt: skip
    over = [
        found
        for precision in (F32, I8)
        for model in models
        if (found := model.overhead(precision)) is not None
    ]
    results.append({
        "title": "Stream.step from Python over the step in C, µs", "limit_us": OVERHEAD_LIMIT_US,
        "passed": len(over) == 2 * len(models) and all(r["passed"] for r in over), "ratios": over,
    })  # fmt: skip
    return results


def show(result: dict[str, Any]) -> None:
    """Print one gate."""
    unit = " µs" if "limit_us" in result else "×"
    print(f"\n{result['title']}")
    for row in result["ratios"]:
        ends = "" if row["low"] is None else f"({row['low']:.2f} to {row['high']:.2f})"
        what = row.get("baseline") or row["precision"]
        mark = "" if row["passed"] else "  below the limit" if unit == "×" else "  above the limit"
        if row.get("most"):
            what += f", the most there could be {row['most']:.2f}×"
        print(f"  {row['model']:<16} {row['median']:7.2f}{unit} {ends:<18} {what}{mark}")
    if not result["ratios"]:
        print(
            "  not measured: needs a target with a C library, and emx-onnx-cgen where it is named"
        )
    limits = [
        f"geometric mean {result['geometric_mean']:.2f}×" if result.get("geometric_mean") else "",
        f"at least {result['limit_mean']}×" if result.get("limit_mean") else "",
        f"each at least {result['limit_each']}×" if result.get("limit_each") else "",
        f"at most {result['limit_us']} µs" if "limit_us" in result else "",
    ]
    said = ", ".join(part for part in limits if part)
    verdict = "pass" if result["passed"] else "FAIL"
    if result.get("limit_each") is None and "limit_us" not in result:
        verdict = "for information"
    print(f"  {said}: {verdict}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", default="native")
    parser.add_argument("--cell", action="append", choices=["lstm", "gru"], dest="cells")
    parser.add_argument(
        "--size", action="append", dest="sizes", help="input,hidden,layers; default: three of them"
    )
    parser.add_argument("--calls", type=int, default=1000, help="timed calls of each row")
    parser.add_argument("--json", type=Path, default=RESULTS / "native_ratios.json")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    try:
        check_writable(given.json)
        surroundings = {**environment.capture([given.target]), "before": environment.conditions()}
        models = []
        for cell in given.cells or ("lstm", "gru"):
            for size in given.sizes or SIZES:
                print(f"timing {cell} {size}", file=sys.stderr, flush=True)
                with TemporaryDirectory() as folder:
                    models.append(timed(cell, size, given.target, given.calls, Path(folder)))
        results = judged(models)
        for result in results:
            show(result)
        value = {
            "target": given.target,
            "target_detail": edgernn_runtimes.probe(given.target).detail,
            "passed": all(result["passed"] for result in results),
            "gates": results,
            "models": [model.to_json() for model in models],
            "environment": {**surroundings, "after": environment.conditions()},
        }
        write_text(given.json, json.dumps(value) + "\n")
        failed = [result["title"] for result in results if not result["passed"]]
        if failed:
            raise PerformanceGateError(f"{len(failed)} of {len(results)} limits are not kept")
    except EdgernnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
