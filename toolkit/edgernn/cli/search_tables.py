"""The result of a search as tables in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from edgernn_exporters.search import Candidate, SearchResult

_NAME_WIDTH = 16
_FEW_LAYERS = 2  # so many that their precisions fit into a line


def print_search(result: SearchResult, output: Path) -> None:
    """Print sensitivities, the Pareto front, and why each layer got its precision."""
    from rich.console import Console
    from rich.text import Text

    from edgernn_exporters.search import drop_in_words, explain, notes

    console = Console()
    chosen = result.chosen
    if result.sensitivities:
        console.print(_sensitivities(result))
    console.print(_front(result, chosen))
    if chosen is not None:
        console.print(_choice(result, chosen))
        for row in explain(result, chosen):
            console.print(Text(f"{row.layer}: {row.why}"), soft_wrap=True)
    for line in notes(result):
        console.print(Text(f"note: {line}"), soft_wrap=True)
    if chosen is not None and chosen.measured is not None:
        line = (
            f"{output}: {result.metric} {chosen.measured.metric:.4f} against "
            f"{result.reference.metric:.4f} (drop {drop_in_words(chosen.measured.drop)} on "
            f"{result.examples} validation examples), {len(result.candidates)} choices measured"
        )
        line += f", {result.reused} of them in an earlier search" if result.reused else ""
        console.print(Text(line), soft_wrap=True)


def _table(title: str, heads: list[str], named: int = 1) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for index, head in enumerate(heads):
        first = index == 0
        table.add_column(
            head, justify="left" if index < named else "right", overflow="fold",
            no_wrap=not first, min_width=_NAME_WIDTH if first else None,
        )  # fmt: skip
    return table


def _sensitivities(result: SearchResult) -> Table:
    found = {(item.layer, item.precision): item for item in result.sensitivities}
    precisions = list(dict.fromkeys(precision for _, precision in found))
    table = _table("one layer quantized: drop in %, SQNR in dB", ["layer", *precisions])
    for layer, info in result.layers.items():
        cells = []
        for precision in precisions:
            item = found.get((layer, precision))
            if item is None or item.drop is None or item.sqnr_db is None:
                cells.append("–" if item is None else "failed")
            else:
                cells.append(f"{item.drop * 100:z.2f}, {item.sqnr_db:.0f}")
        table.add_row(f"{layer} ({info.operator})", *cells)
    return table


def _front(result: SearchResult, chosen: Candidate | None) -> Table:
    from edgernn_exporters.search import COLUMNS, describe

    shown = [column for column in COLUMNS if column.applies(result)]
    few = len(result.layers) <= _FEW_LAYERS
    order = f": precisions of {', '.join(result.layers)}" if few else ""
    over = any(item.measured and result.limits.exceeded(item.measured) for item in result.front)
    title = f"Pareto front{order}{'; over: over a limit' if over else ''}"
    table = _table(title, ["", *(column.head for column in shown)])
    for item in result.front:
        assert item.measured is not None
        exceeded = result.limits.exceeded(item.measured)
        mark = "chosen: " if item is chosen else "over: " if exceeded else ""
        cells = [column.show(item.measured, result) for column in shown]
        words = ", ".join(item.choice) if few else describe(item, result)
        table.add_row(mark + words, *cells)
    cells = [column.show(result.reference, result) for column in shown]
    float_chosen = chosen is not None and chosen.is_float
    table.add_row(f"{'chosen' if float_chosen else 'reference'}: float32", *cells)
    return table


def _choice(result: SearchResult, chosen: Candidate) -> Table:
    from edgernn_exporters.search import bytes_in_words, drop_in_words, explain

    table = _table("chosen", ["layer", "precision", "bytes", "of", "drop alone"], named=2)
    for row in explain(result, chosen):
        alone = row.alone.drop if row.alone is not None else None
        table.add_row(
            f"{row.layer} ({row.operator})",
            row.precision,
            "–" if row.bytes is None else bytes_in_words(row.bytes),
            bytes_in_words(row.float_bytes),
            "–" if alone is None else drop_in_words(alone),
        )
    return table
