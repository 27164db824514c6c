"""Parts ``memory`` and ``gradients``: the adding problem at several lengths, and why it is hard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from edgernn.tasks.base import DataSource, Task
from edgernn.tasks.memory import Adding
from edgernn.training.config import ModelConfig, TrainOptions
from edgernn.training.runs import RunInfo
from edgernn_benchmarks.cells.journal import Journal, Row
from edgernn_benchmarks.cells.plan import CELLS, Plan, Verbs
from edgernn_benchmarks.opening import open_session

Say = Callable[[str], object]

MOMENTS = ("plain", "initial", "trained")
"""Networks whose gradients are measured: with PyTorch's own initial biases, as the training begins,
and as it ends."""


def measure_memory(plan: Plan, verbs: Verbs, journal: Journal, work: Path, say: Say) -> None:
    """Train every cell on every length; measure the exported model on ``cpu``."""
    for seed in range(plan.seeds):  # outermost: all cells have a result early
        for steps in plan.lengths:
            for cell in CELLS:
                key = memory_key(cell, steps, seed)
                say(key)

                def make(cell: str = cell, steps: int = steps, seed: int = seed) -> Row:
                    run = _trained(plan, verbs, work, cell, steps, seed)
                    model = run.folder / "adding.onnx"
                    verbs.export(run.folder, model)
                    return _judged(run, steps, model)

                journal.measured(key, make)


def measure_gradients(plan: Plan, verbs: Verbs, journal: Journal, work: Path, say: Say) -> None:
    """Measure the gradients of every cell at three moments of training on the adding problem."""
    steps = plan.gradient_steps
    x = next(Adding(steps=steps).splits(DataSource())["test"].batches(plan.gradient_rows)).x
    for seed in range(plan.seeds):
        for cell in CELLS:
            for moment in MOMENTS:
                key = gradients_key(cell, moment, seed)
                say(key)

                def make(cell: str = cell, moment: str = moment, seed: int = seed) -> Row:
                    config, recipe = _config(plan, cell), _task(steps).recipe
                    if moment == "trained":
                        run = _trained(plan, verbs, work, cell, steps, seed)
                        norms = verbs.trained_gradients(run.folder, x)
                    else:
                        if moment == "plain":
                            recipe = replace(recipe, memory_steps=0)
                        norms = verbs.initial_gradients(config, recipe, seed, x)
                    return {
                        "cell": cell,
                        "moment": moment,
                        "seed": seed,
                        "steps": steps,
                        "hidden_size": config.hidden_size,
                        "norms": {name: _short(values) for name, values in norms.items()},
                    }

                journal.measured(key, make)


def memory_key(cell: str, steps: int, seed: int) -> str:
    """Return the key of one training."""
    return f"memory/{cell}/{steps}/seed{seed}"


def gradients_key(cell: str, moment: str, seed: int) -> str:
    """Return the key of one network's gradients; ``moment`` is one of `MOMENTS`."""
    return f"gradients/{cell}/{moment}/seed{seed}"


def _config(plan: Plan, cell: str) -> ModelConfig:
    return ModelConfig(cell, Adding.input_size, plan.hidden_size, Adding.output_size)


def _trained(plan: Plan, verbs: Verbs, work: Path, cell: str, steps: int, seed: int) -> RunInfo:
    """Train, go on with a training, or find it finished."""
    folder = work / f"adding-{steps}-{cell}{plan.hidden_size}-seed{seed}"
    options = TrainOptions(folder, seed=seed, epochs=plan.epochs, resume=True)
    task = cast(Task, _task(steps))  # whose attributes the protocol takes for settable
    return verbs.train(task, _config(plan, cell), options)


def _task(steps: int) -> Adding:
    """Return the problem with the recipe for its length."""
    task = Adding(steps=steps)
    return replace(task, recipe=replace(task.recipe, memory_steps=steps))


def _judged(run: RunInfo, steps: int, model: Path) -> Row:
    task = _task(steps)
    assert run.best is not None
    with closing(open_session(model, "cpu", threads=1)) as session:
        scores = task.score(session.run, task.splits(DataSource())["test"])
    return {
        "cell": run.model.cell,
        "steps": steps,
        "seed": run.seed,
        "hidden_size": run.model.hidden_size,
        "mse": scores["mse"],
        "best_epoch": run.best.epoch,
        "epochs": run.epoch,
        "validation": [record.validation for record in run.history],
        "epoch_seconds": [record.seconds for record in run.history],
    }


def _short(values: Any) -> list[list[float]]:
    """Keep four significant digits of ``[B, T]``."""
    return [[float(f"{value:.4g}") for value in row] for row in values]
