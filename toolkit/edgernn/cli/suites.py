"""``edgernn bench --suite NAME``: measurements that make their own models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgernn.cli.options import FILE
from edgernn.errors import UsageError
from edgernn.tasks.base import DataSource

if TYPE_CHECKING:
    from edgernn_benchmarks.cells import Verbs

_PARTS = ("gradients", "memory", "choice")
_OPTION = "--suite"


class WithSuites(click.Command):
    """A command that hands over to a suite where ``--suite NAME`` is given."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """See `click.Command.make_context`."""
        name, others = _named(args)
        if name is None:
            return super().make_context(info_name, args, parent, **extra)
        if name not in SUITES:
            raise UsageError(f"there is no suite {name!r}; the suites are {', '.join(SUITES)}")
        return SUITES[name].make_context(f"{info_name} {_OPTION} {name}", others, parent, **extra)


def _named(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the suite that arguments name, and the others."""
    for place, argument in enumerate(args):
        option, equals, value = argument.partition("=")
        if option == _OPTION:
            rest = [*args[:place], *args[place + (1 if equals else 2) :]]
            given = value if equals else "".join(args[place + 1 : place + 2])
            return given, rest
    return None, list(args)


@click.command()
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(_PARTS),
    help="Once per part; default: all.",
)
@click.option("--quick", is_flag=True, help="Seconds instead of hours; the numbers mean nothing.")
@click.option("--seeds", type=click.IntRange(min=1), help="Repetitions.  [default: 3]")
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="TASK=DIR",
    help="Folder with the real data of keywords, forecast or sentiment; once per task.",
)
@click.option(
    "--work",
    type=FILE,
    default=Path("runs/cells"),
    show_default=True,
    help="Folder for trainings and models; what is finished there is used again.",
)
@click.option(
    "--json",
    "json_path",
    type=FILE,
    required=True,
    help="File for the results; what it holds is not measured again.",
)
@click.option("--report", "html_path", type=FILE, help="File for the report page.")
@click.option("--markdown", "markdown_path", type=FILE, help="File for the tables in Markdown.")
def cells(
    parts: tuple[str, ...],
    quick: bool,
    seeds: int | None,
    folders: tuple[str, ...],
    work: Path,
    json_path: Path,
    html_path: Path | None,
    markdown_path: Path | None,
) -> None:
    """Measure what LSTM, GRU and plain RNN differ in.

    gradients: how far back a gradient reaches. memory: the adding problem at 50 to 400 steps.
    choice: LSTM against GRU on three tasks, at equal hidden size and at equal parameter count.

    A suite that was stopped goes on where it was.
    """
    from edgernn.files import check_writable, write_text
    from edgernn_benchmarks import cells as suite

    for path in (html_path, markdown_path):
        if path is not None:
            check_writable(path)
    chosen = parts or _PARTS
    plan = suite.quick_plan(chosen) if quick else suite.Plan(parts=chosen)
    plan = replace(plan, sources=_sources(folders), seeds=seeds or plan.seeds)
    verbs = _verbs()
    try:
        suite.run_suite(plan, verbs, json_path, work, say=lambda key: click.echo(key, err=True))
    finally:  # after an interrupt too, with what was finished
        if json_path.exists():
            journal = suite.read_journal(json_path)
            if html_path is not None:
                write_text(html_path, suite.to_html(journal))
            if markdown_path is not None:
                write_text(markdown_path, suite.to_markdown(journal))
    click.echo(suite.to_markdown(journal), nl=False)
    for path in (json_path, html_path, markdown_path):
        if path is not None:
            click.echo(f"written to {path}")


SUITES: Mapping[str, click.Command] = {"cells": cells}


def _sources(folders: Sequence[str]) -> dict[str, DataSource]:
    found = {}
    for given in folders:
        task, equals, folder = given.partition("=")
        if not (task and equals and folder):
            raise UsageError(f"--data {given!r} is not of the form TASK=DIR, as in keywords=fsdd")
        found[task] = DataSource(folder=Path(folder))
    return found


def _verbs() -> Verbs:
    from edgernn import api
    from edgernn.extras import needs
    from edgernn_benchmarks.cells import Verbs

    with needs("train"):
        from edgernn.training import load_run, show_progress, train
        from edgernn.training.gradients import initial_gradients, state_gradients
        from edgernn.training.remembering import recurrent_layer

    def train_shown(task: Any, config: Any, options: Any) -> Any:
        with show_progress() as on_progress:
            return train(task, config, options, on_progress=on_progress)

    def quantize(source: Path, path: Path, task: str, data: DataSource) -> Any:
        return api.quantize(source, path, precision="int8", calibration=f"task:{task}", data=data)

    return Verbs(
        train=train_shown,
        export=api.export_run,
        quantize=quantize,
        initial_gradients=initial_gradients,
        trained_gradients=lambda folder, x: state_gradients(
            recurrent_layer(load_run(folder)[0]), x
        ),
    )
