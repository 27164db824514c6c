"""Measure models on targets in scenarios, and make the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgernn.errors import Interrupted, ModelError, UsageError
from edgernn.sessions import Array, Session
from edgernn.tasks import TASKS, get_task
from edgernn_benchmarks import environment
from edgernn_benchmarks.assemble import make_row
from edgernn_benchmarks.candidates import Candidate
from edgernn_benchmarks.inputs import GIVEN, RANDOM
from edgernn_benchmarks.measure import Limit
from edgernn_benchmarks.models import ModelFile, describe, reference_of
from edgernn_benchmarks.opening import check_targets, load_options, open_session, sizes_by_model
from edgernn_benchmarks.peers import PREFIX
from edgernn_benchmarks.report import Report
from edgernn_benchmarks.run import Accuracy, Progress, Run
from edgernn_benchmarks.scenarios import Scenario, parse

Load = Callable[..., Session]

DEFAULT_DURATION_S = 1.0


def benchmark(
    paths: Sequence[str | os.PathLike[str]],
    targets: Sequence[str] = ("cpu",),
    scenarios: Sequence[str | Scenario] = ("step",),
    *,
    peers: Sequence[str] = (),
    duration_s: float | None = None,
    iterations: int | None = None,
    warmup: int = 10,
    threads: int | None = 1,
    batch: int = 1,
    seed: int = 0,
    inputs: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
    accuracy: Accuracy | None = None,
    metric: str | None = None,
    higher_is_better: bool = True,
    reference: str | os.PathLike[str] | None = None,
    frame_rate_hz: float | None = None,
    cold_starts: int = 3,
    load: Load = open_session,
    progress: Progress | None = None,
    save: Callable[[Report], object] | None = None,
) -> Report:
    """Measure every model on every target in every scenario.

    A target or peer that is not on this machine, or cannot run a model, becomes a row that says
    why. An emulated target is not timed: it gets counts.

    Args:
        paths: ONNX files.
        targets: Keys of `edgernn_runtimes.TARGETS`.
        scenarios: Texts that `scenarios.parse` reads, or scenarios.
        peers: Other engines to measure too: keys of `peers.PEERS`.
        duration_s: Seconds of timed calls a row; 1 if neither this nor ``iterations`` is given.
        iterations: Timed calls a row; with both given, both are reached. At most
            `measure.MAX_SAMPLES` are taken.
        warmup: Untimed calls of each row first.
        threads: For targets whose ``load`` takes them; None for the engine's choice.
        batch: For scenarios that name none.
        seed: Of random inputs.
        inputs: Real inputs by name, repeated to the needed length; None for random ones.
        sizes: Of dynamic axes that are neither time nor batch, by name, such as that of the memory
            of a decoder; models that lack an axis are measured without its size.
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
        UsageError: A scenario, target, limit or the reference is wrong, or a size is of an axis
            that no model has, or that is time or batch.
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
    rivals = [f"{PREFIX}{name.removeprefix(PREFIX)}" for name in peers]
    check_targets([*targets, *rivals] if load is open_session else rivals)
    if duration_s is None and iterations is None:
        duration_s = DEFAULT_DURATION_S
    models = describe(list(dict.fromkeys(Path(path).absolute() for path in paths)))
    parsed = [parse(s, batch=batch) if isinstance(s, str) else s for s in scenarios]
    name, direction = _metric(models, metric, higher_is_better)
    right = reference_of(models) if reference is None else describe([reference])[0]
    for model in (*models, right):
        if model.error is not None:
            raise ModelError(model.error)
    fixed = sizes_by_model([model.path for model in (*models, right)], sizes or {})
    run = Run(
        candidates=[
            Candidate(model, target, notes=_mentioned(model))
            for model in models
            for target in dict.fromkeys([*targets, *rivals])
        ],
        scenarios=list(dict.fromkeys(parsed)),
        limit=Limit(duration_s, iterations),
        reference=right,
        load=lambda path, target: (open_session if target in rivals else load)(
            path, target, **load_options(target, threads, fixed[path])
        ),
        threads=threads,
        seed=seed,
        inputs=inputs,
        sizes=fixed,
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
    surroundings = environment.capture([*targets, *rivals])
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
        run.time_all(warmup)
        run.count_all()
        run.compare_all()
        run.evaluate_all(accuracy)
        run.start_all(cold_starts)
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


def _mentioned(model: ModelFile) -> list[str]:
    """Return what the reader of a row must know of its file."""
    unproven = model.metadata.unproven
    return [] if unproven is None else [f"the file is unproven: {unproven}"]


def _metric(models: list[ModelFile], name: str | None, higher: bool) -> tuple[str | None, bool]:
    tasks = [model.metadata.task for model in models if model.metadata.task in TASKS]
    if name is None and tasks:
        metric = get_task(tasks[0]).metric
        return metric.name, metric.higher_is_better
    return name, higher
