"""``edgernn report``: make the report page from a JSON result."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import FILE


@click.command()
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, help="HTML file to write; default: beside SOURCE.")
@click.option("--markdown", type=FILE, help="Also write a table in Markdown.")
def command(source: Path, output: Path | None, markdown: Path | None) -> None:
    """Make the report page from SOURCE, a JSON file of edgernn bench."""
    from edgernn.files import write_text
    from edgernn_benchmarks import Report

    report = Report.load_json(source)
    page = output or source.with_suffix(".html")
    report.save_html(page)
    click.echo(f"written to {page}")
    if markdown is not None:
        write_text(markdown, report.to_markdown())
        click.echo(f"written to {markdown}")
