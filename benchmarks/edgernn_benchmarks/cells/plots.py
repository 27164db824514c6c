"""The suite's plots, as SVG."""

from __future__ import annotations

import math

from edgernn_benchmarks import svg
from edgernn_benchmarks.cells.journal import Journal
from edgernn_benchmarks.cells.plan import BASELINE, CELLS, SOLVED
from edgernn_benchmarks.cells.tables import decay, memory_cells
from edgernn_benchmarks.report_format import number
from edgernn_benchmarks.svg import BOTTOM, LEFT, RIGHT, TOP, Scale

_FLOOR = 1e-20  # less is not drawn
_COLOURS = dict(zip(CELLS, (1, 0, 2), strict=True))
_POINT = 3.2


def gradients_svg(journal: Journal, moment: str) -> str:
    """Plot the norm of ∂h_T/∂h_t against T − t for every cell, and of ∂h_T/∂c_t for the LSTM.

    Empty if nothing was measured.
    """
    curves = {
        (cell, state): found
        for cell in CELLS
        for state in ("h", "c")
        if (found := decay(journal, cell, moment, state))
    }
    if not curves:
        return ""
    every = {
        (cell, state): found
        for cell in CELLS
        for each in ("plain", "initial", "trained")
        for state in ("h", "c")
        if (found := decay(journal, cell, each, state))
    }
    longest = max(len(curve) for curve in every.values())
    lowest = min(max(min(curve[state == "c" :]), _FLOOR) for (_, state), curve in every.items())
    highest = max(max(curve) for curve in [*every.values(), *curves.values()])
    x = Scale(0, max(longest - 1, 1), LEFT, RIGHT - 6)
    y = Scale(min(lowest, 0.1) / 3, max(highest, 1.0) * 3, BOTTOM, TOP, log=True)
    parts = [
        svg.x_axis(x, "steps back, T − t", [(tick, f"{tick:g}") for tick in x.ticks()]),
        svg.y_axis(y, "largest singular value", [(tick, _power(tick)) for tick in _decades(y)]),
    ]
    for index, ((cell, state), curve) in enumerate(curves.items()):
        first = 1 if state == "c" else 0  # h_T does not depend on c_T: the paths part after T
        points = [
            (x(at), y(value)) for at, value in enumerate(curve) if at >= first and value >= y.low
        ]
        css = f"c{_COLOURS[cell]}" + (" dashed" if state == "c" else "")
        parts.append(svg.path(points, f"curve {css}"))
        words = f"{cell.upper()}, ∂h_T/∂{state}_t" + (" (dashed)" if state == "c" else "")
        parts.append(_key(LEFT + 8, BOTTOM - 10 - 16 * (len(curves) - 1 - index), words, css))
    told = "; ".join(
        f"{cell.upper()} {state}: {number(curve[-1], 2)}" for (cell, state), curve in curves.items()
    )
    return svg.figure("".join(parts), f"Gradients by steps back. At {longest - 1} steps: {told}")


def memory_svg(journal: Journal) -> str:
    """Plot the error of the adding problem against its length: a point for each seed.

    Empty if nothing was measured.
    """
    cells = memory_cells(journal)
    if not cells:
        return ""
    lengths = sorted({item.steps for item in cells})
    x = svg.spread(lengths, LEFT + 20, RIGHT - 20, log=True, pad=0.02)
    errors = [error for item in cells for error in item.errors]
    y = svg.spread([*errors, SOLVED, BASELINE], BOTTOM, TOP, log=True, pad=0.06)
    parts = [
        svg.x_axis(x, "length of the rows (log scale)", [(value, str(value)) for value in lengths]),
        svg.y_axis(y, "mean squared error (log scale)",
                   [(tick, f"{tick:g}") for tick in y.ticks()]),
    ]  # fmt: skip
    for level, words in ((SOLVED, "solved"), (BASELINE, "always says 1")):
        parts.append(svg.line(LEFT, y(level), RIGHT, y(level), "deadline"))
        parts.append(svg.text(LEFT + 4, y(level) - 4, words, "tick"))
    for index, cell in enumerate(CELLS):
        mine = [item for item in cells if item.cell == cell]
        css = f"c{_COLOURS[cell]}"
        middles = [
            (x(item.steps), y(math.exp(sum(map(math.log, item.errors)) / len(item.errors))))
            for item in mine
        ]
        if mine:
            parts.append(svg.path(middles, f"curve {css}"))
            between = (y(SOLVED) + y(BASELINE)) / 2  # where curves seldom are
            parts.append(_key(LEFT + 8, between + 16 * (index - 1), cell.upper(), css))
        parts += [
            f'<circle cx="{x(item.steps):.1f}" cy="{y(error):.1f}" r="{_POINT}" '
            f'class="bubble {css}"/>'
            for item in mine
            for error in item.errors
        ]
    told = "; ".join(
        f"{item.cell.upper()} at {item.steps}: "
        f"{', '.join(number(error, 2) for error in item.errors)}"
        for item in cells
    )
    return svg.figure("".join(parts), f"Error of the adding problem by length. {told}")


def _key(x: float, y: float, words: str, css: str) -> str:
    """Draw a piece of a curve with its name; a line, because pages differ in colours of text."""
    return svg.line(x, y, x + 22, y, f"curve {css}") + svg.text(x + 28, y + 4, words, "label")


def _decades(scale: Scale) -> list[float]:
    """Return powers of ten inside a scale, at most eight."""
    low, high = math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high))
    step = max(1, math.ceil((high - low) / 7))
    return [10.0**power for power in range(high, low - 1, -step)][::-1]


def _power(value: float) -> str:
    return f"{value:g}" if 1e-3 <= value <= 1e3 else f"1e{round(math.log10(value))}"
