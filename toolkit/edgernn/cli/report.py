"""``edgernn report``: make the report page from a JSON result, or from runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgernn.cli.options import FILE
from edgernn.errors import InputError, UsageError


@click.command()
@click.argument("sources", type=FILE, nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="HTML file to write; default: beside SOURCE, for runs report.html in the first folder.",
)
@click.option("--markdown", type=FILE, help="Also write a table in Markdown.")
def command(sources: tuple[Path, ...], output: Path | None, markdown: Path | None) -> None:
    """Make the report page from SOURCE.

    SOURCE is JSON of edgernn bench or edgernn quantize --auto, or run folders of edgernn train (or
    their run.json): the learning curves of several are drawn side by side.
    """
    from edgernn.files import write_text
    from edgernn_benchmarks import Report
    from edgernn_benchmarks.cells import page_of_cells
    from edgernn_benchmarks.report_search import page_of_search
    from edgernn_benchmarks.report_training import page_of_runs

    runs = _run_folders(sources)
    source = sources[0]
    if runs:
        other: str | None = page_of_runs(runs)
        page = output or runs[0] / "report.html"
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


def _run_folders(sources: tuple[Path, ...]) -> list[Path]:
    """Return the run folders that sources name, themselves or by their run.json; none for JSON."""
    folders = [source.parent if _is_of_run(source) else source for source in sources]
    for folder in folders:
        if not folder.exists():
            raise InputError(
                f"cannot read {folder}: no such file or folder; name a report's JSON file, or run "
                f"folders of edgernn train"
            )
    files = [folder for folder in folders if not folder.is_dir()]
    if files and len(sources) > 1:
        raise UsageError(
            f"{files[0]} is no run folder; name a report's JSON file alone, or run folders only"
        )
    return [] if files else folders


def _is_of_run(path: Path) -> bool:
    """Tell a run's run.json from a report of this name; reports say their schema."""
    from edgernn.training.runs import RUN_FILE

    if path.name != RUN_FILE:
        return False
    try:
        return "schema" not in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # reading the run says what is wrong
