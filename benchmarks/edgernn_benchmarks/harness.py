"""Measure models on targets in scenarios, and make the report.

The order of work: load everything, time all rows of a scenario in alternating turns, then numeric
errors, task accuracy and fresh processes, so that nothing runs beside the timed calls.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import edgernn_runtimes
from edgernn.errors import Interrupted, ModelError, UsageError
from edgernn.sessions import Array, Arrays, Session
from edgernn.tasks import TASKS, get_task
from edgernn_benchmarks import environment
from edgernn_benchmarks.assemble import RowParts, make_row
from edgernn_benchmarks.fresh import ColdStart, measure_cold_start
from edgernn_benchmarks.inputs import GIVEN, RANDOM, make_inputs, split_steps
from edgernn_benchmarks.measure import Job, Limit, explain, measure
from edgernn_benchmarks.models import ModelFile, describe, reference_of
from edgernn_benchmarks.numeric import STEPS, NumericError, numeric_error
from edgernn_benchmarks.report import Report
from edgernn_benchmarks.scenarios import Scenario, parse

Load = Callable[..., Session]
Accuracy = Callable[[Path, str], dict[str, float] | None]
Progress = Callable[[str, float], object]

DEFAULT_DURATION_S = 1.0
_STREAM_CALLS, _RUN_CALLS = 256, 4
_MAX_INPUT_STEPS = 100_000


def benchmark(
    paths: Sequence[str | os.PathLike[str]],
    targets: Sequence[str] = ("cpu",),
    scenarios: Sequence[str | Scenario] = ("step",),
    *,
    duration_s: float | None = None,
    iterations: int | None = None,
    warmup: int = 10,
    threads: int | None = 1,
    batch: int = 1,
    seed: int = 0,
    inputs: Mapping[str, Array] | None = None,
    accuracy: Accuracy | None = None,
    metric: str | None = None,
    higher_is_better: bool = True,
    reference: str | os.PathLike[str] | None = None,
    frame_rate_hz: float | None = None,
    cold_starts: int = 3,
    load: Load = edgernn_runtimes.load,
    progress: Progress | None = None,
    save: Callable[[Report], object] | None = None,
) -> Report:
    """Measure every model on every target in every scenario.

    A target that is not on this machine, or cannot run a model, becomes a row that says why.

    Args:
        paths: ONNX files.
        targets: Keys of `edgernn_runtimes.TARGETS`.
        scenarios: Texts that `scenarios.parse` reads, or scenarios.
        duration_s: Seconds of timed calls a row; 1 if neither this nor ``iterations`` is given.
        iterations: Timed calls a row; with both given, both are reached. At most
            `measure.MAX_SAMPLES` are taken.
        warmup: Untimed calls of each row first.
        threads: For targets whose ``load`` takes them; None for the engine's choice.
        batch: For scenarios that name none.
        seed: Of random inputs.
        inputs: Real inputs by name, repeated to the needed length; None for random ones.
        accuracy: Called with ``(path, target)``, returns the task's metrics or None.
        metric: Which of the metrics is the row's ``accuracy``; None for that of the models' task,
            else ``"accuracy"``, else the first.
        higher_is_better: Direction of the metric where the models name no task.
        reference: The model that numeric errors are taken against; None for the first float32
            model that others name as parent, else the first.
        frame_rate_hz: Time steps a second of the live source; None to take it from each model's
            preprocessing or task.
        cold_starts: Fresh processes a row, 0 for none.
        load: Opens a model on a target.
        progress: Told what is being done and the finished share of it.
        save: Given the report at the end, and the partial report after an interrupt.

    Raises:
        UsageError: A scenario, target, limit or the reference is wrong.
        ModelError: A file does not exist, cannot be read, or is no ONNX model.
        Interrupted: The user stopped it; ``save`` has been given what was finished.

    Example:
        >>> report = benchmark(["kw.onnx", "kw.int8.onnx"], ["cpu"], ["step", "sequence:100"])
        >>> print(report.to_markdown())
    """
    if not paths or not targets or not scenarios:
        raise UsageError("name at least one model, one target and one scenario")
    if cold_starts < 0:
        raise UsageError(f"cold starts must be 0 or more, not {cold_starts}")
    if unknown := [name for name in targets if load is edgernn_runtimes.load
                   and name not in edgernn_runtimes.TARGETS]:  # fmt: skip
        known = ", ".join(edgernn_runtimes.TARGETS)
        raise UsageError(f"unknown target {unknown[0]!r}; the targets are {known}")
    if duration_s is None and iterations is None:
        duration_s = DEFAULT_DURATION_S
    models = describe(list(dict.fromkeys(Path(path).absolute() for path in paths)))
    parsed = [parse(s, batch=batch) if isinstance(s, str) else s for s in scenarios]
    name, direction = _metric(models, metric, higher_is_better)
    right = reference_of(models) if reference is None else describe([reference])[0]
    for model in (*models, right):
        if model.error is not None:
            raise ModelError(model.error)
    run = _Run(
        candidates=[
            _Candidate(model, target) for model in models for target in dict.fromkeys(targets)
        ],
        scenarios=list(dict.fromkeys(parsed)),
        limit=Limit(duration_s, iterations),
        reference=right,
        load=lambda path, target: load(path, target, **_options(target, threads)),
        progress=progress or (lambda what, share: None),
    )
    settings = {
        "duration_s": duration_s,
        "iterations": iterations,
        "warmup": warmup,
        "threads": threads,
        "seed": seed,
        "inputs": RANDOM if inputs is None else GIVEN,
        "inputs_are_random": inputs is None,
        "reference": right.label,
        "metric": name,
        "higher_is_better": direction,
        "frame_rates_hz": {m.label: frame_rate_hz or frame_rate(m) for m in models},
        "cold_starts": cold_starts,
        "rounds": run.limit.rounds(),
    }
    surroundings = environment.capture(targets)
    surroundings["before"] = environment.conditions()

    def report(partial: bool) -> Report:
        rows = tuple(
            make_row(run.parts(candidate, scenario), settings)
            for scenario in run.scenarios
            for candidate in run.candidates
        )
        after = {**surroundings, "after": environment.conditions()}
        return Report(rows, after, settings, surroundings["time_utc"], partial)

    try:
        run.time_all(warmup, seed, inputs)
        run.compare_all(seed, inputs)
        run.evaluate_all(accuracy)
        run.start_all(cold_starts, threads, seed)
    except KeyboardInterrupt:
        partial = report(partial=True)
        if save is not None:
            save(partial)
        done, total = len(partial.measured), len(partial.rows)
        kept = "; what was measured is kept" if save is not None else ""
        raise Interrupted(f"stopped with {done} of {total} rows measured{kept}") from None
    finally:
        run.close()
    result = report(partial=False)
    if save is not None:
        save(result)
    return result


def frame_rate(model: ModelFile) -> float | None:
    """Return the time steps a second of a model's live source, or None if it does not say.

    The preprocessing's ``hop_ms`` goes before the task's frame rate.
    """
    hop_ms = (model.metadata.preprocessing or {}).get("hop_ms")
    if isinstance(hop_ms, int | float) and hop_ms > 0:
        return 1000.0 / hop_ms
    if model.metadata.task in TASKS:
        return get_task(model.metadata.task).frame_rate_hz
    return None


def _metric(models: list[ModelFile], name: str | None, higher: bool) -> tuple[str | None, bool]:
    tasks = [model.metadata.task for model in models if model.metadata.task in TASKS]
    if name is None and tasks:
        metric = get_task(tasks[0]).metric
        return metric.name, metric.higher_is_better
    return name, higher


def _options(target: str, threads: int | None) -> dict[str, Any]:
    """Return the load options of a target: threads, if its adapter takes them."""
    if threads is None or target not in edgernn_runtimes.TARGETS:
        return {}
    adapter = edgernn_runtimes.TARGETS[target].implementation().load
    return {"threads": threads} if "threads" in inspect.signature(adapter).parameters else {}


@dataclass
class _Candidate:
    """One model on one target, and what is known of it so far."""

    model: ModelFile
    target: str
    session: Session | None = None
    error: str | None = None
    numeric: NumericError | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def attempt(self, what: str, action: Callable[[], None]) -> None:
        """Do something whose failure costs only its own number, and becomes a note."""
        try:
            action()
        except Exception as error:  # a fault of one target must not lose the others' results
            self.notes.append(f"no {what}: {explain(error)}")


@dataclass
class _Run:
    candidates: list[_Candidate]
    scenarios: list[Scenario]
    limit: Limit
    reference: ModelFile
    load: Callable[[Path, str], Session]
    progress: Progress
    jobs: dict[tuple[int, Scenario], Job] = field(default_factory=dict)
    errors: dict[tuple[int, Scenario], str] = field(default_factory=dict)
    starts: dict[tuple[int, Scenario], ColdStart | str] = field(default_factory=dict)

    def time_all(self, warmup: int, seed: int, inputs: Mapping[str, Array] | None) -> None:
        for candidate in self.candidates:
            candidate.error = self._load(candidate)
        for scenario in self.scenarios:
            jobs = []
            for candidate in self.candidates:
                if candidate.session is None:
                    continue
                key = (id(candidate), scenario)
                try:
                    self.jobs[key] = job_for(candidate.session, scenario, seed, inputs)
                except Exception as error:  # as in _load
                    self.errors[key] = explain(error)
                else:
                    jobs.append(self.jobs[key])
            what = f"timing {scenario}"
            self.progress(what, 0.0)
            measure(jobs, self.limit, warmup=warmup, progress=partial(self.progress, what))

    def compare_all(self, seed: int, given: Mapping[str, Array] | None) -> None:
        self.progress("comparing outputs", 0.0)
        judged = [candidate for candidate in self.candidates if candidate.session is not None]
        if not judged:
            return
        try:
            session = self._reference_session()
            inputs = make_inputs(session, STEPS, 1, seed=seed, given=given)
            expected = session.run(inputs)
            if all(candidate.session is not session for candidate in judged):
                session.close()
        except Exception as error:  # the timings are kept
            for candidate in judged:
                candidate.notes.append(f"no numeric error, the reference failed: {explain(error)}")
            return
        for candidate in judged:
            candidate.attempt("numeric error", partial(_judge, candidate, inputs, expected))

    def evaluate_all(self, accuracy: Accuracy | None) -> None:
        judged = [candidate for candidate in self.candidates if candidate.session is not None]
        for index, candidate in enumerate(judged if accuracy is not None else ()):
            self.progress(f"evaluating {candidate.model.label}", index / len(judged))
            candidate.attempt("accuracy", partial(_evaluate, candidate, accuracy))

    def start_all(self, processes: int, threads: int | None, seed: int) -> None:
        keys = [
            (candidate, scenario)
            for scenario in self.scenarios
            for candidate in self.candidates
            if (job := self.jobs.get((id(candidate), scenario))) and job.error is None
            and candidate.target in edgernn_runtimes.TARGETS
        ]  # fmt: skip
        for index, (candidate, scenario) in enumerate(keys if processes else ()):
            self.progress("cold starts", index / len(keys))
            self.starts[id(candidate), scenario] = measure_cold_start(
                candidate.model.path, candidate.target, scenario,
                options=_options(candidate.target, threads), seed=seed, processes=processes,
            )  # fmt: skip

    def parts(self, candidate: _Candidate, scenario: Scenario) -> RowParts:
        key = (id(candidate), scenario)
        job, start = self.jobs.get(key), self.starts.get(key)
        error = candidate.error or self.errors.get(key) or (job.error if job else None)
        return RowParts(
            model=candidate.model,
            target=candidate.target,
            scenario=scenario,
            error=error,
            samples_ns=tuple(job.samples_ns) if job else (),
            turns=tuple(job.turns) if job else (),
            reference=candidate.model.sha256 == self.reference.sha256 and candidate.target == "cpu",
            numeric=candidate.numeric,
            metrics=candidate.metrics,
            start=start if isinstance(start, ColdStart) else None,
            notes=(*candidate.notes, *([start] if isinstance(start, str) else [])),
        )

    def close(self) -> None:
        for candidate in self.candidates:
            if candidate.session is not None:
                candidate.session.close()

    def _load(self, candidate: _Candidate) -> str | None:
        self.progress(f"loading {candidate.model.label} on {candidate.target}", 0.0)
        try:
            candidate.session = self.load(candidate.model.path, candidate.target)
        except Exception as error:  # a fault of one target must not lose the others' results
            return explain(error)
        return None

    def _reference_session(self) -> Session:
        for candidate in self.candidates:
            same = candidate.model.sha256 == self.reference.sha256
            if same and candidate.target == "cpu" and candidate.session is not None:
                return candidate.session
        return self.load(self.reference.path, "cpu")


def job_for(
    session: Session, scenario: Scenario, seed: int, given: Mapping[str, Array] | None
) -> Job:
    """Make the job that calls a session as the scenario says, on varying inputs."""
    steps, batch = scenario.steps, scenario.batch
    if not scenario.streams:
        runs = [
            make_inputs(session, steps, batch, seed=seed + index, given=given)
            for index in range(_RUN_CALLS if given is None else 1)
        ]
        return Job(str(scenario), session.run, runs)
    stream = session.stream(batch)
    calls = max(1, min(_STREAM_CALLS, _MAX_INPUT_STEPS // (steps * batch)))
    inputs = make_inputs(session, steps * calls, batch, seed=seed, given=given)
    pieces: list[Any] = split_steps(session, inputs, steps)
    if len(session.inputs) == 1 and len(session.outputs) == 1:
        pieces = [next(iter(piece.values())) for piece in pieces]
    return Job(str(scenario), stream.step, pieces, reset=stream.reset)


def _judge(candidate: _Candidate, inputs: Arrays, expected: Arrays) -> None:
    assert candidate.session is not None
    candidate.numeric = numeric_error(candidate.session, inputs, expected)
    if candidate.numeric.note is not None:
        candidate.notes.append(candidate.numeric.note)


def _evaluate(candidate: _Candidate, accuracy: Accuracy | None) -> None:
    values = accuracy(candidate.model.path, candidate.target) if accuracy is not None else None
    candidate.metrics = dict(values or {})
