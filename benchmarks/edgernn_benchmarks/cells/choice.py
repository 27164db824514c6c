"""Part ``choice``: LSTM against GRU at equal hidden size and at equal parameter count."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edgernn.tasks import get_task
from edgernn.tasks.base import DataSource, Task
from edgernn.training.config import TrainOptions
from edgernn_benchmarks.cells.journal import Journal, Row
from edgernn_benchmarks.cells.plan import PRECISIONS, SCENARIOS, Member, Plan, Verbs, members
from edgernn_benchmarks.cells.sizes import recurrent_parameters
from edgernn_benchmarks.harness import benchmark
from edgernn_benchmarks.opening import open_session

Say = Callable[[str], object]


def measure_choice(plan: Plan, verbs: Verbs, journal: Journal, work: Path, say: Say) -> None:
    """Train the networks of each task, quantize, measure their quality; then time and count.

    The networks of a task are timed in alternating turns, so that drift of the machine hits all.
    """
    for name in plan.tasks:
        task = get_task(name)
        side_by_side = members(task, plan.width)
        for seed in range(plan.seeds):  # outermost, so that time of day hits all networks alike
            for member in side_by_side:
                _measure_member(plan, verbs, journal, work, say, task, member, seed)
        key = timing_key(name)
        say(key)

        def make(name: str = name, side_by_side: tuple[Member, ...] = side_by_side) -> Row:
            paths = [
                _model(_folder(work, name, member, 0), precision)
                for member in side_by_side
                for precision in PRECISIONS
            ]
            return _timed(plan, verbs, work, name, side_by_side, paths)

        journal.measured(key, make)


def _measure_member(
    plan: Plan,
    verbs: Verbs,
    journal: Journal,
    work: Path,
    say: Say,
    task: Task,
    member: Member,
    seed: int,
) -> None:
    source = plan.source(task.name, seed)
    folder = _folder(work, task.name, member, seed)
    say(training_key(task.name, member.label, seed))
    journal.measured(
        training_key(task.name, member.label, seed),
        lambda: _trained(plan, verbs, task, member, seed, folder, source),
    )
    for precision in PRECISIONS:
        key = quality_key(task.name, member.label, seed, precision)
        say(key)

        def make(precision: str = precision) -> Row:
            _write_models(verbs, task.name, folder, source)
            return _judged(task, member, seed, precision, _model(folder, precision), source)

        journal.measured(key, make)


def training_key(task: str, label: str, seed: int) -> str:
    """Return the key of one training."""
    return f"choice/{task}/{label}/seed{seed}/training"


def quality_key(task: str, label: str, seed: int, precision: str) -> str:
    """Return the key of one file's quality."""
    return f"choice/{task}/{label}/seed{seed}/{precision}"


def timing_key(task: str) -> str:
    """Return the key of the times and counts of a task's networks."""
    return f"choice/{task}/timing"


def _folder(work: Path, task: str, member: Member, seed: int) -> Path:
    return work / f"{task}-{member.label.lower()}-seed{seed}"


def _model(folder: Path, precision: str) -> Path:
    return folder / f"model.{precision}.onnx"


def _trained(
    plan: Plan,
    verbs: Verbs,
    task: Task,
    member: Member,
    seed: int,
    folder: Path,
    source: DataSource,
) -> Row:
    options = TrainOptions(folder, seed=seed, epochs=plan.epochs, source=source, resume=True)
    run = verbs.train(task, member.config, options)
    assert run.best is not None
    return {
        **_names(task, member, seed),
        "hidden_size": member.config.hidden_size,
        "recurrent_parameters": recurrent_parameters(member.config),
        "holdout": source.holdout,
        "epochs": run.epoch,
        "best_epoch": run.best.epoch,
        "validation": [record.validation for record in run.history],
        "epoch_seconds": [record.seconds for record in run.history],
    }


def _write_models(verbs: Verbs, task: str, folder: Path, source: DataSource) -> None:
    """Write the ONNX files of a run that are not there yet."""
    plain, small = (_model(folder, precision) for precision in PRECISIONS)
    if not plain.exists():
        verbs.export(folder, plain)
    if not small.exists():
        verbs.quantize(plain, small, task, source)


def _judged(
    task: Task, member: Member, seed: int, precision: str, model: Path, source: DataSource
) -> Row:
    with closing(open_session(model, "cpu", threads=1)) as session:
        made = session.metadata.preprocessing
        scores = task.score(session.run, task.splits(source, made)["test"])
    return {
        **_names(task, member, seed),
        "precision": precision,
        "metric": task.metric.name,
        "higher_is_better": task.metric.higher_is_better,
        "value": scores[task.metric.name],
        "scores": scores,
        "bytes": model.stat().st_size,
    }


def _timed(
    plan: Plan,
    verbs: Verbs,
    work: Path,
    task: str,
    side_by_side: tuple[Member, ...],
    paths: list[Path],
) -> Row:
    for member in side_by_side:
        _write_models(verbs, task, _folder(work, task, member, 0), plan.source(task, 0))
    report = benchmark(
        paths, plan.targets, [SCENARIOS[task]], duration_s=plan.duration_s, cold_starts=0
    ).to_json()
    labels = [(member.label, precision) for member in side_by_side for precision in PRECISIONS]
    # The report's rows go through the models in order, and for each through the targets.
    named = [label for label in labels for _ in plan.targets]
    rows = [
        {"label": label, "precision": precision, **row}
        for (label, precision), row in zip(named, report["rows"], strict=True)
    ]
    return {"task": task, "scenario": SCENARIOS[task], "rows": rows,
            "environment": report["environment"]}  # fmt: skip


def _names(task: Task, member: Member, seed: int) -> Row:
    return {"task": task.name, "label": member.label, "match": member.match, "seed": seed}
