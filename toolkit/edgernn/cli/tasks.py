"""``edgernn tasks``: list the training tasks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edgernn.cli.options import human_bytes, json_option, print_json
from edgernn.tasks.base import Network


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
             "input_size": task.input_size, "output_size": task.output_size,
             "network": asdict(task.network), "data": asdict(task.origin)}
            for task in tasks
        ])  # fmt: skip
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    table.add_column("task", no_wrap=True)  # the other columns give way
    table.add_column("what")
    table.add_column("network", min_width=len("bidirectional"))
    table.add_column("metric", no_wrap=True)
    table.add_column("real data")
    for task in tasks:
        origin = task.origin
        size = f", {human_bytes(origin.bytes)}" if origin.bytes else ""
        table.add_row(
            task.name,
            task.summary,
            _network(task.network),
            task.metric.name,
            f"{origin.data} ({origin.licence}{size})",
        )
    Console().print(table)


def _network(network: Network) -> str:
    directions = "bidirectional " if network.bidirectional else ""
    layers = f"{network.layers} x " if network.layers > 1 else ""
    return f"{layers}{directions}{network.cell.upper()} {network.hidden_size}"
