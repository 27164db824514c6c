"""Draw the plots of docs/cells.md, from results of ``edgernn bench --suite cells``.

python scripts/cells_plots.py benchmarks/results/cells.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgernn_benchmarks.cells import read_journal
from edgernn_benchmarks.cells.plots import gradients_svg, memory_svg

IMAGES = Path(__file__).parents[1] / "docs" / "images"
STYLE = """<style>
text { font: 12.5px system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; fill: #1c2329 }
.tick, .title { fill: #59646e } .tick { font-size: 11.5px }
.axis { stroke: #59646e } .grid { stroke: #e3e7ea }
.deadline { stroke: #8a4b00; stroke-dasharray: 5 4 }
.curve { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round }
.bubble { fill: currentColor; fill-opacity: 0.4; stroke: currentColor }
.dashed { stroke-dasharray: 5 3 }
.label { paint-order: stroke; stroke: #fff; stroke-width: 3.5px; stroke-dasharray: none }
.c0 { color: #1f6fb2 } .c1 { color: #c8442c } .c2 { color: #2a8a4a }
</style>"""


def write(name: str, plot: str) -> None:
    """Write one plot with its own style and a white ground; nothing where nothing was measured."""
    if plot:
        head, _, content = plot.partition(">")
        head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        ground = '<rect width="100%" height="100%" fill="#fff"/>'
        (IMAGES / name).write_text(f"{head}>{STYLE}{ground}{content}\n")


def main() -> None:
    """Write all plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, help="JSON of the suite")
    journal = read_journal(parser.parse_args().results)
    for moment in ("plain", "initial", "trained"):
        write(f"cells-gradients-{moment}.svg", gradients_svg(journal, moment))
    write("cells-memory.svg", memory_svg(journal))


if __name__ == "__main__":
    main()
