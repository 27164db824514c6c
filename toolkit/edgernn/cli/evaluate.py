"""``edgernn evaluate``: measure a task's metric on a target."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import (
    allow_fallback_option,
    data_options,
    data_source,
    encoder_option,
    isa_option,
    json_option,
    load_options,
    model_argument,
    print_json,
    target_option,
    threads_option,
)


@click.command()
@model_argument("model")
@click.option("--task", help="Default: the one named in the file.")
@target_option
@encoder_option
@data_options
@click.option(
    "--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True
)
@threads_option
@isa_option
@allow_fallback_option
@json_option
def command(
    model: Path,
    task: str | None,
    target: str,
    encoder: Path | None,
    data: Path | None,
    download: bool,
    holdout: str | None,
    split: str,
    threads: int | None,
    isa: str | None,
    allow_fallback: bool,
    as_json: bool,
) -> None:
    """Measure the task's metric with MODEL."""
    from edgernn import api
    from edgernn.cli.counts import counts_of, render_counts

    source = data_source(data, download, holdout)
    options = load_options(threads, allow_fallback, isa)
    counts = None
    if (encoder := encoder or api.encoder_of(model)) is not None:
        pair = api.open_pair(encoder, model, target, **options)
        values = api.evaluate(pair, task, source=source, split=split)
    else:
        session = api.load(model, target, **options)
        values = api.evaluate(session, task, source=source, split=split)
        counts = counts_of(session)
    if as_json:
        print_json(values if counts is None else {**values, "emulated": counts})
        return
    for name, value in values.items():
        click.echo(f"{name} {value:.4f}")
    if counts is not None:
        click.echo(render_counts(target, counts))
