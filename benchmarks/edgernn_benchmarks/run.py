"""The parts of a benchmark run, in order.

Load everything, time all rows of a scenario in alternating turns, then count on emulated targets,
then numeric errors, task accuracy and fresh processes, so that nothing runs beside timed calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import edgernn_runtimes
from edgernn.sessions import Array, Arrays, Measurement, Session
from edgernn_benchmarks.assemble import RowParts
from edgernn_benchmarks.candidates import Candidate, check_peer, count, job_for
from edgernn_benchmarks.fresh import ColdStart, measure_cold_start
from edgernn_benchmarks.inputs import common_steps, make_calls, run_whole
from edgernn_benchmarks.measure import Job, Limit, explain, measure
from edgernn_benchmarks.models import ModelFile
from edgernn_benchmarks.numeric import STEPS, numeric_error
from edgernn_benchmarks.opening import load_options
from edgernn_benchmarks.scenarios import Scenario

Accuracy = Callable[[Path, str], dict[str, float] | None]
Progress = Callable[[str, float], object]
Key = tuple[int, Scenario]


@dataclass
class Run:
    """Hold what is measured, and what was found so far.

    Attributes:
        candidates: Models on targets and peers.
        scenarios: How they are called.
        limit: When a row has enough samples.
        reference: The model whose outputs are right.
        load: Opens a file on a target.
        threads: For the fresh processes.
        seed: Of random inputs.
        inputs: Real inputs, or None.
        sizes: Of dynamic axes that are neither time nor batch, by model file.
        progress: Told what is being done and the finished share of it.
        jobs: What was timed, by candidate and scenario.
        counts: What was counted on emulated targets.
        errors: Why there is neither.
        starts: Cold starts, or why there are none.
    """

    candidates: list[Candidate]
    scenarios: list[Scenario]
    limit: Limit
    reference: ModelFile
    load: Callable[[Path, str], Session]
    threads: int | None
    seed: int
    inputs: Mapping[str, Array] | None
    sizes: Mapping[Path, Mapping[str, int]]
    progress: Progress
    jobs: dict[Key, Job] = field(default_factory=dict)
    counts: dict[Key, Measurement] = field(default_factory=dict)
    errors: dict[Key, str] = field(default_factory=dict)
    starts: dict[Key, ColdStart | str] = field(default_factory=dict)

    def time_all(self, warmup: int) -> None:
        """Load all candidates, and time those that are not emulated."""
        for candidate in self.candidates:
            candidate.error = self._load(candidate)
        for scenario in self.scenarios:
            jobs = []
            for candidate in self.candidates:
                if candidate.session is None or candidate.emulated:
                    continue
                key = (id(candidate), scenario)
                try:
                    self.jobs[key] = job_for(
                        candidate.session, scenario,
                        seed=self.seed, given=self.inputs,
                        sizes=self.sizes[candidate.model.path],
                    )  # fmt: skip
                except Exception as error:  # as in _load
                    self.errors[key] = explain(error)
                else:
                    jobs.append(self.jobs[key])
            what = f"timing {scenario}"
            self.progress(what, 0.0)
            measure(jobs, self.limit, warmup=warmup, progress=partial(self.progress, what))

    def count_all(self) -> None:
        """Count what each scenario takes on the emulated targets."""
        for candidate in self.candidates:
            if candidate.session is None or not candidate.emulated:
                continue
            for index, scenario in enumerate(self.scenarios):
                what = f"counting {candidate.model.label} on {candidate.target}"
                self.progress(what, index / len(self.scenarios))
                key = (id(candidate), scenario)
                try:
                    self.counts[key] = count(candidate.session, scenario)
                except Exception as error:  # as in _load
                    self.errors[key] = explain(error)

    def compare_all(self) -> None:
        """Compare all outputs with the reference's, and each peer's with its own model's."""
        self.progress("comparing outputs", 0.0)
        judged = self._loaded()
        if not judged:
            return
        try:
            calls, expected = self._expected(self.reference)
        except Exception as error:  # the timings are kept
            for candidate in judged:
                candidate.notes.append(f"no numeric error, the reference failed: {explain(error)}")
        else:
            for candidate in judged:
                candidate.attempt("numeric error", partial(_judge, candidate, calls, expected))
        rivals = [candidate for candidate in judged if candidate.peer]
        for model in {candidate.model.sha256: candidate.model for candidate in rivals}.values():
            same = [rival for rival in rivals if rival.model.sha256 == model.sha256]
            try:
                calls, expected = self._expected(model)
            except Exception as error:  # as above
                for rival in same:
                    rival.notes.append(f"outputs not checked, target cpu failed: {explain(error)}")
                continue
            for rival in same:
                rival.attempt("check of the outputs", partial(check_peer, rival, calls, expected))

    def evaluate_all(self, accuracy: Accuracy | None) -> None:
        """Measure the task's metric on all targets; peers compute the same, or are wrong."""
        if accuracy is None:
            return
        judged = [candidate for candidate in self._loaded() if not candidate.peer]
        for index, candidate in enumerate(judged):
            self.progress(f"evaluating {candidate.model.label}", index / len(judged))
            candidate.attempt("accuracy", partial(_evaluate, candidate, accuracy))

    def start_all(self, processes: int) -> None:
        """Measure cold starts and memory of what was timed on a target."""
        keys = [
            (candidate, scenario)
            for scenario in self.scenarios
            for candidate in self.candidates
            if (job := self.jobs.get((id(candidate), scenario))) and job.error is None
            and candidate.target in edgernn_runtimes.TARGETS
        ]  # fmt: skip
        for index, (candidate, scenario) in enumerate(keys if processes else ()):
            self.progress("cold starts", index / len(keys))
            sizes = self.sizes[candidate.model.path]
            self.starts[id(candidate), scenario] = measure_cold_start(
                candidate.model.path, candidate.target, scenario,
                options=load_options(candidate.target, self.threads, sizes),
                seed=self.seed, sizes=sizes, processes=processes,
            )  # fmt: skip

    def parts(self, candidate: Candidate, scenario: Scenario) -> RowParts:
        """Return what is known of a row."""
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
            wrong=candidate.wrong,
            counts=self.counts.get(key),
            metrics=candidate.metrics,
            start=start if isinstance(start, ColdStart) else None,
            notes=(*candidate.notes, *([start] if isinstance(start, str) else [])),
        )

    def close(self) -> None:
        """Close all sessions."""
        for candidate in self._loaded():
            assert candidate.session is not None
            candidate.session.close()

    def _loaded(self) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.session is not None]

    def _load(self, candidate: Candidate) -> str | None:
        self.progress(f"loading {candidate.model.label} on {candidate.target}", 0.0)
        try:
            candidate.session = self.load(candidate.model.path, candidate.target)
        except Exception as error:  # a fault of one target must not lose the others' results
            return explain(error)
        return None

    def _expected(self, model: ModelFile) -> tuple[list[Arrays], Arrays]:
        """Return inputs that suit all models, and what this one on ``cpu`` makes of them."""
        loaded = [candidate.session for candidate in self._loaded() if candidate.session]
        session = next(
            (c.session for c in self._loaded() if c.target == "cpu"
             and c.model.sha256 == model.sha256), None
        )  # fmt: skip
        opened = session or self.load(model.path, "cpu")
        try:
            calls = make_calls(
                opened, common_steps([opened, *loaded], STEPS), 1,
                seed=self.seed, given=self.inputs, sizes=self.sizes[model.path],
            )  # fmt: skip
            return calls, run_whole(opened, calls)
        finally:
            if opened is not session:
                opened.close()


def _judge(candidate: Candidate, calls: Sequence[Arrays], expected: Arrays) -> None:
    assert candidate.session is not None
    candidate.numeric = numeric_error(candidate.session, calls, expected)
    if candidate.numeric.note is not None:
        candidate.notes.append(candidate.numeric.note)


def _evaluate(candidate: Candidate, accuracy: Accuracy) -> None:
    candidate.metrics = dict(accuracy(candidate.model.path, candidate.target) or {})
