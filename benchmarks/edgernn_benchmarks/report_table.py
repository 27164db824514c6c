"""The report as a table in the terminal, and the progress bar while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from edgernn_benchmarks.report import Report, Row
from edgernn_benchmarks.report_columns import WRONG, Column, columns
from edgernn_benchmarks.report_summary import findings_cautions, findings_unavailable

if TYPE_CHECKING:
    from rich.table import Table

_REDRAW_S = 0.2
_LEAST_IMPORTANT_FIRST = (
    "Throughput", "p90", "p99.9", "Memory", "Real time", "Cold start", "Stack", "Max error", "File",
    "Static RAM", "Flash", "p99",
)  # fmt: skip


def to_table(report: Report, width: int = 120) -> Table:
    """Return a table for ``rich.console.Console.print``.

    Columns that do not fit are left out, the least important first; the page and the JSON have
    all of them.

    Args:
        report: The result.
        width: Characters a line.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = columns(report)
    cells = {id(row): _cells(row, shown) for row in report.rows}
    for head in _LEAST_IMPORTANT_FIRST:
        if _width(report, shown, cells) <= width:
            break
        shown = [column for column in shown if column.head != head]
        cells = {id(row): _cells(row, shown) for row in report.rows}
    title = "partial: stopped before its end" if report.partial else None
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for head in ("model", "target"):
        table.add_column(head, overflow="fold")
    for column in shown:
        table.add_column(column.head, justify="right", no_wrap=True)
    for scenario in report.scenarios:
        table.add_row(Text(scenario, style="bold"))
        for row in report.rows:
            if row.scenario == scenario:
                struck = [False, False, *(row.wrong_outputs and c.time for c in shown)]
                table.add_row(
                    *(Text(cell, style="strike" if out else "")
                      for cell, out in zip(cells[id(row)], struck, strict=True))
                )  # fmt: skip
        table.add_section()
    return table


def _cells(row: Row, shown: Sequence[Column]) -> list[str]:
    values = [column.show(row) if row.available else "–" for column in shown]
    target = row.target + (f" ({WRONG})" if row.wrong_outputs else "")
    return [f"  {row.model}", target, *values]


def _width(report: Report, shown: Sequence[Column], cells: Mapping[int, list[str]]) -> int:
    heads = ["model", "target", *(column.head for column in shown)]
    lines = [heads, *(cells[id(row)] for row in report.rows)]
    return sum(max(map(len, column)) + 3 for column in zip(*lines, strict=True))


def print_report(report: Report) -> None:
    """Print the table to stdout, then why rows are empty and what to mind."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(to_table(report, console.width))
    for finding in [*findings_unavailable(report), *findings_cautions(report)]:
        line = Text(f"{finding.topic}: ", style="bold")
        console.print(line.append(finding.text, style="not bold"), soft_wrap=True)


@contextmanager
def show_progress() -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar on stderr if it is a terminal; yields what the harness reports to.

    The bar is drawn only when it is told something, between the timed turns: a thread that
    redraws it would steal time from the calls that are timed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, share: None
        return
    last = 0.0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), console=console, auto_refresh=False,
        transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=1.0)

        def show(what: str, share: float) -> None:
            nonlocal last
            bar.update(task, description=what, completed=share)
            if monotonic() - last > _REDRAW_S or share in (0.0, 1.0):
                bar.refresh()
                last = monotonic()

        yield show
