"""``edgernn report``: make the report page from a JSON result, or from runs."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import FILE
from edgernn.errors import UsageError


@click.command()
@click.argument("sources", type=FILE, nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=FILE, help="HTML file to write; default: beside SOURCE.")
@click.option("--markdown", type=FILE, help="Also write a table in Markdown.")
def command(sources: tuple[Path, ...], output: Path | None, markdown: Path | None) -> None:
    """Make the report page from SOURCE.

    SOURCE is JSON of edgernn bench or edgernn quantize --auto, or run folders of edgernn train:
    the learning curves of several are drawn side by side.
    """
    from edgernn.files import write_text
    from edgernn_benchmarks import Report
    from edgernn_benchmarks.cells import page_of_cells
    from edgernn_benchmarks.report_search import page_of_search
    from edgernn_benchmarks.report_training import page_of_runs

    source = sources[0]
    if len(sources) > 1 or source.is_dir():
        other: str | None = page_of_runs(sources)
        page = output or source / "report.html"
    else:
        other = page_of_search(source) or page_of_cells(source)
        page = output or source.with_suffix(".html")
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
