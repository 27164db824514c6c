"""``edgernn tasks``: list the training tasks."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import json_option, print_json


@click.command()
@click.option("--sample", metavar="TASK", help="Write one test recording of TASK here instead.")
@json_option
def command(sample: str | None, as_json: bool) -> None:
    """List the training tasks."""
    from edgernn.tasks import TASKS, get_task

    if sample is not None:
        path = get_task(sample).sample(Path())
        print_json({"path": str(path)}) if as_json else click.echo(str(path))
        return
    tasks = [get_task(name) for name in TASKS]
    if as_json:
        print_json([
            {"name": task.name, "summary": task.summary, "metric": task.metric.name,
             "input_size": task.input_size, "output_size": task.output_size}
            for task in tasks
        ])  # fmt: skip
        return
    for task in tasks:
        click.echo(f"{task.name}  {task.summary} (metric: {task.metric.name})")
