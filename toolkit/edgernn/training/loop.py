"""The training loop: epochs, validation, early stopping, and going on after an interruption."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from edgernn.errors import Interrupted, ModelError, UsageError
from edgernn.tasks.base import Split, Task
from edgernn.training.checkpoint import LAST, save_epoch
from edgernn.training.config import ModelConfig, TrainOptions
from edgernn.training.launch import end_other_processes
from edgernn.training.learner import (
    Learner,
    from_tensors,
    runner,
    set_up,
    to_tensors,
    train_epoch,
)
from edgernn.training.losses import LOSSES
from edgernn.training.models import Model
from edgernn.training.opening import check_folder, open_run, plan_run
from edgernn.training.processes import on_main, precision_of, start
from edgernn.training.progress import OnProgress, Progress
from edgernn.training.qat import quantized_network, recipe_and_start, with_ranges
from edgernn.training.remembering import new_model
from edgernn.training.runs import RUN_FILE, EpochRecord, RunInfo, read_run
from edgernn.training.tensors import Tensors

Report = Callable[[RunInfo, int, int, float], None]


def train(
    task: Task, config: ModelConfig, options: TrainOptions, *, on_progress: OnProgress | None = None
) -> RunInfo:
    """Train a network for a task and keep the best one in a run folder.

    The result depends on the arguments alone, given the machine and the number of processes: a
    run that was killed and resumed ends with the same bits as one that was not. Under
    ``accelerate launch`` every process calls this function with the same arguments.

    Args:
        task: Data, loss, metric and recipe.
        config: Architecture; its input and output sizes are the task's.
        options: Folder, seed, data source, whether to continue the run in the folder, and
            whether to train a finished run for integer arithmetic (`edgernn.training.qat`).
        on_progress: Called in the main process about 20 times per epoch and after each.

    Returns:
        The finished run.

    Raises:
        UsageError: The folder already has a run, or the configuration does not fit the task.
        CheckpointError: The run to continue is broken or another one than asked for.
        OutputError: The folder cannot be written.
        InputError: The data hold values that cannot be trained on.
        ModelError: The training diverged.
        Interrupted: The user stopped it; the epochs that had ended are kept.

    Example:
        >>> run = train(task, config, TrainOptions(Path("runs/kw")))  # doctest: +SKIP
        >>> run.best.validation  # doctest: +SKIP
        0.994
    """
    folder = Path(options.folder)
    try:
        return _train(task, config, replace(options, folder=folder), on_progress)
    except KeyboardInterrupt:
        end_other_processes(grace_s=0.5)  # they may be waiting for this one
        kept = read_run(folder).epoch if (folder / RUN_FILE).exists() else 0
        epochs = "1 epoch is" if kept == 1 else f"{kept} epochs are"
        raise Interrupted(
            f"training stopped; {epochs} kept in {folder}; continue with --resume"
        ) from None


def _train(
    task: Task, config: ModelConfig, options: TrainOptions, on_progress: OnProgress | None
) -> RunInfo:
    _check_fit(task, config)
    accelerator = start(options.precision)
    on_main(accelerator, lambda: check_folder(options))
    with accelerator.local_main_process_first():  # the first one may have to download the data
        given = None if options.parent is None else read_run(options.parent).preprocessing
        splits = task.splits(options.source, given)
    precision = precision_of(accelerator)
    recipe, qat = recipe_and_start(task, config, options, precision)

    def begin() -> tuple[RunInfo, Tensors | None]:
        plan = plan_run(
            task, config, options, splits, precision, accelerator.num_processes, recipe, qat
        )
        return open_run(plan, options.resume)

    run, last = on_main(accelerator, begin)
    if run.stopped:
        return run
    with _reproducible(accelerator.device):
        learner = set_up(
            accelerator,
            run.recipe,
            run.seed,
            LOSSES[task.loss],
            lambda: _network(run, options.parent, splits),
        )
        if last is None:
            run = with_ranges(run, learner.model)
        else:
            from_tensors(learner, last, f"{run.folder}/{LAST}.safetensors")
        if run.scaler is not None and accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(dict(run.scaler))
        report = None
        if on_progress is not None and accelerator.is_main_process:
            report = _reporter(run, on_progress)
        while not run.stopped:
            run = _epoch(task, splits, learner, run, report)
    return run


def _network(run: RunInfo, parent: Path | None, splits: Mapping[str, Split]) -> Model:
    """Make the network at the start of a run."""
    if parent is None:
        return new_model(run.model, run.recipe)
    return quantized_network(run, parent, splits["train"])


def _epoch(
    task: Task,
    splits: Mapping[str, Split],
    learner: Learner,
    run: RunInfo,
    report: Report | None,
) -> RunInfo:
    """Train, validate and save one epoch; return the run with it."""
    begun = time.perf_counter()
    epoch = run.epoch + 1

    def on_step(step: int, loss: float) -> None:
        if report is not None:
            report(run, epoch, step, loss)

    follow = None if report is None else on_step
    loss, rate = train_epoch(learner, splits["train"], epoch, run.steps, follow)

    def finish() -> RunInfo:
        validation = _validate(task, learner, splits["validation"], epoch)
        seconds = round(time.perf_counter() - begun, 3)
        record = EpochRecord(epoch, loss, validation, rate, seconds)
        return _save(run, record, learner)

    run = on_main(learner.accelerator, finish)
    if report is not None:
        report(run, epoch, run.steps, loss)
    return run


def _validate(task: Task, learner: Learner, split: Split, epoch: int) -> float:
    scores = task.score(runner(learner.judged, learner.accelerator.device), split)
    if task.metric.name not in scores:
        raise UsageError(
            f"task {task.name} measures {', '.join(scores)}, but its metric is "
            f"{task.metric.name}; correct the task"
        )
    value = float(scores[task.metric.name])
    if not math.isfinite(value):
        raise ModelError(
            f"the validation {task.metric.name} is {value} in epoch {epoch}: the training "
            f"diverged; lower the learning rate ({learner.recipe.learning_rate})"
        )
    return value


def _save(run: RunInfo, record: EpochRecord, learner: Learner) -> RunInfo:
    """Add an epoch to the run, decide whether it is the best and the last, and write it all."""
    best, gain = run.best, 0.0
    if best is not None:
        gain = record.validation - best.validation
        gain = gain if run.metric.higher_is_better else -gain
    is_best = best is None or gain >= 0  # of equals the later: its rate was lower
    stopped = ""
    if record.epoch == run.recipe.epochs:
        stopped = "epochs"
    elif best is not None and gain <= 0:
        waited = record.epoch - _first_as_good(run, best)
        stopped = "patience" if waited >= run.recipe.patience else ""
    scaler = learner.accelerator.scaler
    run = replace(
        run,
        history=(*run.history, record),
        stopped=stopped,
        scaler=None if scaler is None else scaler.state_dict(),
    )
    return save_epoch(run, to_tensors(learner), learner.judged.state_dict() if is_best else None)


def _first_as_good(run: RunInfo, best: EpochRecord) -> int:
    """Return the first epoch that was as good as the best; patience counts from there."""
    return next(item.epoch for item in run.history if item.validation == best.validation)


def _check_fit(task: Task, config: ModelConfig) -> None:
    for name in ("input_size", "output_size"):
        wanted, given = getattr(task, name), getattr(config, name)
        if wanted != given:
            raise UsageError(f"{name} is {given}, but task {task.name} has {wanted}; use {wanted}")
    if task.loss not in LOSSES:
        raise UsageError(
            f"task {task.name} asks for loss {task.loss!r}; choose one of {', '.join(LOSSES)}"
        )


def _reporter(run: RunInfo, on_progress: OnProgress) -> Report:
    begun, steps = time.perf_counter(), run.steps
    before = run.epoch * steps

    def report(run: RunInfo, epoch: int, step: int, loss: float) -> None:
        done = (epoch - 1) * steps + step
        total = done if run.stopped else run.recipe.epochs * steps
        seconds = (time.perf_counter() - begun) / max(1, done - before)
        record = run.history[-1] if run.history else None
        on_progress(
            Progress(
                epoch=epoch,
                epochs=run.recipe.epochs,
                step=step,
                steps=steps,
                loss=loss,
                metric=run.metric,
                record=record,
                best=run.best,
                seconds_left=max(0, total - done) * seconds,
            )
        )

    return report


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Choose deterministic algorithms, and leave the caller's settings as they were.

    On a CPU this is one thread, unless ``OMP_NUM_THREADS`` says otherwise: the bits of a sum depend
    on the number of threads, and the small matrices of a recurrent step gain little from more.
    Where other programs use the cores as well, the threads wait for each other, and more of them
    make an epoch longer.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it; PyTorch docs
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.set_num_threads(threads)
