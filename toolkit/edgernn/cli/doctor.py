"""``edgernn doctor``: show which targets and tools this machine has."""

from __future__ import annotations

from dataclasses import asdict

import click

from edgernn.cli.options import json_option, print_json


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Show which targets and tools this machine has, and how to install the others."""
    from edgernn_runtimes import TARGETS, probe
    from edgernn_runtimes.tools import TOOLS, find_tool

    groups = {
        "targets": {name: probe(name) for name in TARGETS},
        "tools": {name: find_tool(name) for name in TOOLS},
    }
    if as_json:
        print_json({
            group: {name: asdict(found) for name, found in entries.items()}
            for group, entries in groups.items()
        })  # fmt: skip
        return
    for group, entries in groups.items():
        click.echo(group)
        for name, found in entries.items():
            click.echo(f"  {'ok ' if found.available else '-- '}{name:<14}{found.detail}")
            if not found.available:
                click.echo(f"     {'':<14}{found.remedy}")
