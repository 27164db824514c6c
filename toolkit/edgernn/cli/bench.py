"""``edgernn bench``: measure models on targets side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgernn.cli.options import (
    FILE,
    axis_sizes,
    data_options,
    data_source,
    model_argument,
)
from edgernn.cli.suites import WithSuites
from edgernn.errors import InputError, TargetUnavailable, UsageError

if TYPE_CHECKING:
    from edgernn.sessions import Arrays
    from edgernn.tasks.base import DataSource
    from edgernn_benchmarks import Report


@click.command(cls=WithSuites)
@model_argument("models", nargs=-1, required=True)
@click.option("--target", "targets", multiple=True, default=("cpu",), show_default=True)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME",
    help="Another engine to measure in turns with the targets, once per engine: onnxruntime, "
    "onnxruntime-int8, torch, openvino, tract, emx.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    default=("step", "sequence:100"),
    show_default=True,
    help="step, chunk:N, sequence:N, each with xB for a batch of B; once per scenario.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the engine."
)
@click.option(
    "--duration",
    type=float,
    metavar="S",
    help="Seconds of timed calls of each row; it ends at 20,000 calls.",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Timed calls of each row.")
@click.option("--warmup", type=click.IntRange(min=0), default=10, show_default=True)
@click.option("--inputs", type=FILE, help="npz or the task's file; default: random values.")
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    metavar="NAME=SIZE",
    help="Size of a dynamic axis that is neither time nor batch, such as source=12.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--no-accuracy", is_flag=True, help="Leave the task's metric out.")
@data_options
@click.option("--json", "json_path", type=FILE, help="File for the result with all samples.")
@click.option("--report", "html_path", type=FILE, help="File for the report page.")
@click.option("--markdown", "markdown_path", type=FILE, help="File for a table in Markdown.")
def command(
    models: tuple[Path, ...],
    targets: tuple[str, ...],
    peers: tuple[str, ...],
    scenarios: tuple[str, ...],
    threads: int,
    duration: float | None,
    iterations: int | None,
    warmup: int,
    inputs: Path | None,
    fixes: tuple[str, ...],
    seed: int,
    no_accuracy: bool,
    data: Path | None,
    download: bool,
    holdout: str | None,
    json_path: Path | None,
    html_path: Path | None,
    markdown_path: Path | None,
) -> None:
    """Measure MODELS on targets: latency, memory, size, accuracy, error against float.

    Models, targets and peers take turns, so that drift of the machine hits all alike. One that is
    not on this machine becomes a row that says why; a peer whose outputs are wrong is marked. An
    emulated target gives counts of instructions, never times.

    With --suite cells instead of MODELS: LSTM, GRU and RNN side by side; it has its own --help.
    """
    from edgernn import api
    from edgernn.files import check_writable, write_text
    from edgernn_benchmarks.report_table import print_report, show_progress

    if duration is not None and duration <= 0:
        raise UsageError(f"--duration {duration} must be above 0 seconds")
    for path in (json_path, html_path, markdown_path):
        if path is not None:
            check_writable(path)  # now, not after minutes of measuring
    source = data_source(data, download, holdout)
    if not no_accuracy and (data or download or holdout):
        _check_data(models, source)

    def accuracy(path: str, target: str) -> dict[str, float] | None:
        if no_accuracy or api.inspect(path).metadata.task is None:
            return None
        return api.evaluate(path, None, target, source=source)

    def save(report: Report) -> None:
        if json_path is not None:
            report.save_json(json_path)
        if html_path is not None:
            report.save_html(html_path)
        if markdown_path is not None:
            write_text(markdown_path, report.to_markdown())

    finished: list[Report] = []
    try:
        with show_progress() as progress:
            api.benchmark(
                models,
                targets,
                scenarios,
                peers=peers,
                duration_s=duration,
                iterations=iterations,
                warmup=warmup,
                threads=threads,
                seed=seed,
                inputs=None if inputs is None else _inputs(models[0], inputs),
                sizes=axis_sizes(fixes),
                accuracy=accuracy,
                progress=progress,
                save=finished.append,
            )
    finally:  # after an interrupt too, with what was finished
        for report in finished:
            print_report(report)  # before saving, which can fail
            save(report)
    for path in (json_path, html_path, markdown_path):
        if path is not None:
            click.echo(f"written to {path}")
    if not any(report.measured for report in finished):
        asked = ", ".join([*targets, *(f"peer {name}" for name in peers)])
        raise TargetUnavailable(f"nothing was measured: none of {asked} ran")


def _check_data(models: tuple[Path, ...], source: DataSource) -> None:
    """Load the data that accuracy is measured on once, so that what is wrong shows at once."""
    from edgernn.tasks import TASKS, get_task
    from edgernn_benchmarks.models import describe

    told = {model.metadata.task for model in describe(models)}
    names = [name for name in TASKS if name in told]
    if not names:
        raise UsageError(
            f"no model names one of the tasks {', '.join(TASKS)}, so the data would not be used; "
            f"leave --data, --download and --holdout out"
        )
    for name in names:
        get_task(name).splits(source)


def _inputs(model: Path, path: Path) -> Arrays:
    from edgernn import api
    from edgernn.cli.inputs import read_inputs
    from edgernn.sessions import check_inputs

    session = api.load(model)
    given = read_inputs(session, path)
    contract = session.metadata.contract
    axes, lengths = (contract.stream.inputs, contract.stream.lengths) if contract else ({}, None)
    try:
        check_inputs(session.inputs, axes, given, lengths)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return given
