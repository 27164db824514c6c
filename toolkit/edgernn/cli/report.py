"""``edgernn report``: make the report page from a JSON result."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import FILE
from edgernn.errors import UsageError


@click.command()
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, help="HTML file to write; default: beside SOURCE.")
@click.option("--markdown", type=FILE, help="Also write a table in Markdown.")
def command(source: Path, output: Path | None, markdown: Path | None) -> None:
    """Make the report page from SOURCE, JSON of edgernn bench or edgernn quantize --auto."""
    from edgernn.files import write_text
    from edgernn_benchmarks import Report
    from edgernn_benchmarks.cells import page_of_cells
    from edgernn_benchmarks.report_search import page_of_search

    page = output or source.with_suffix(".html")
    other = page_of_search(source) or page_of_cells(source)
    if other is not None:
        if markdown is not None:
            raise UsageError(
                "only the result of bench on models has a table in Markdown here; leave "
                "--markdown out"
            )
        write_text(page, other)
        click.echo(f"written to {page}")
        return
    report = Report.load_json(source)
    report.save_html(page)
    click.echo(f"written to {page}")
    if markdown is not None:
        write_text(markdown, report.to_markdown())
        click.echo(f"written to {markdown}")
