"""``edgernn train``: train a recurrent network for a task."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgernn.cli.options import (
    FILE,
    data_options,
    data_source,
    is_main_process,
    json_option,
    print_json,
)
from edgernn.errors import UsageError
from edgernn.integer import INTEGER
from edgernn.tasks.base import DataSource

if TYPE_CHECKING:
    from edgernn.training.progress import OnProgress


@click.command()
@click.argument("task")
@click.option(
    "--cell", type=click.Choice(["lstm", "gru", "rnn"]), help="Default: the task's recommendation."
)
@click.option("--hidden", type=click.IntRange(min=1), help="Units of each layer; default likewise.")
@click.option("--layers", type=click.IntRange(min=1), help="Default likewise.")
@click.option(
    "--bidirectional/--causal",
    default=None,
    help="Also read backwards, which cannot stream, or not; default likewise.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Default: the task's recipe.")
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after this many epochs without a better validation. Default: the task's recipe.",
)
@click.option(
    "--qat",
    type=click.Choice(list(INTEGER)),
    help="Quantization-aware: train on, a few epochs, with the arithmetic of this precision.",
)
@click.option(
    "--from",
    "parent",
    type=FILE,
    metavar="RUN",
    help="Run folder whose best weights --qat starts from; also its architecture and data.",
)
@data_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--tensorboard", is_flag=True, help="Also log to TensorBoard, into the run folder.")
@click.option("-o", "--output", type=FILE, required=True, help="Run folder to write.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    task: str,
    cell: str | None,
    hidden: int | None,
    layers: int | None,
    bidirectional: bool | None,
    epochs: int | None,
    patience: int | None,
    qat: str | None,
    parent: Path | None,
    data: Path | None,
    download: bool,
    holdout: str | None,
    seed: int,
    resume: bool,
    tensorboard: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Train a recurrent network for TASK and keep the best weights.

    With --qat and --from, train a finished run on as the integers that it is to run as.

    On several processes or machines: accelerate launch … -m edgernn train …
    """
    from edgernn import api
    from edgernn.tasks import get_task
    from edgernn.training import Progress, TrainOptions, advised, read_run

    found = get_task(task)
    source = data_source(data, download, holdout)
    if parent is None:
        config = advised(
            found, cell=cell, hidden_size=hidden, layers=layers, bidirectional=bidirectional
        )
    else:
        _refuse_architecture(context, parent)
        start = read_run(parent)
        config = start.model
        source = start.source if source == DataSource() else source
    options = TrainOptions(
        folder=output,
        seed=seed,
        epochs=epochs,
        patience=patience,
        source=source,
        resume=resume,
        qat=qat,
        parent=parent,
    )
    with ExitStack() as stack:
        listeners = _listeners(stack, output if tensorboard else None)

        def on_progress(progress: Progress) -> None:
            for listener in listeners:
                listener(progress)

        run = api.train(task, config, options, on_progress=on_progress)
    if not is_main_process():
        return
    best = run.best
    assert best is not None
    if as_json:
        print_json(
            {"folder": str(output), "epochs": run.epoch, "best": best.to_metrics(run.metric)}
        )
    else:
        click.echo(
            f"{output}: {run.epoch} epochs, best validation {run.metric.name} "
            f"{best.validation:.4f} in epoch {best.epoch}"
        )


def _listeners(stack: ExitStack, tensorboard: Path | None) -> list[OnProgress]:
    """Open what follows a training, until the stack ends."""
    from edgernn.training import log_to_tensorboard, show_progress

    listeners = [stack.enter_context(show_progress())]
    if tensorboard is not None:
        listeners.append(stack.enter_context(log_to_tensorboard(tensorboard)))
    return listeners


def _refuse_architecture(context: click.Context, parent: Path) -> None:
    """Refuse options that the run to start from has decided."""
    for name in ("cell", "hidden", "layers", "bidirectional"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--{name} does not go with --from, which takes the architecture of {parent}; "
                f"leave it out"
            )
