"""Scales, ticks and text for hand-written SVG; colours and fonts come from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 68, 426, 16, 250
FONT = 12.5
COLOURS = 8


@dataclass(frozen=True)
class Scale:
    """Map values to coordinates, linearly or by logarithm.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``.
        start: Coordinate of ``low``.
        end: Coordinate of ``high``.
        log: Logarithmic; both ends are positive then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate, held inside the scale."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values inside the scale, four to seven where that is possible."""
        if not self.log:
            return _linear_ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            ticks = [s * 10.0**d for d in decades for s in steps]
            found = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(found) >= 4:
                return found[:: math.ceil(len(found) / 7)]
        linear = _linear_ticks(self.low, self.high)
        return linear if len(linear) > len(found) else found


def spread(values: Iterable[float], start: float, end: float, *, log: bool, pad: float) -> Scale:
    """Make a scale that holds the values with a margin of ``pad`` of their range.

    Equal values get a range around them.
    """
    found = [value for value in values if math.isfinite(value)] or [1.0]
    if log:
        positive = [value for value in found if value > 0] or [1.0]
        low, high = math.log(min(positive)), math.log(max(positive))
        extra = max((high - low) * pad, 0.25)
        return Scale(math.exp(low - extra), math.exp(high + extra), start, end, log=True)
    low, high = min(found), max(found)
    extra = (high - low) * pad or max(abs(high) * 0.02, 1e-9)
    return Scale(low - extra, high + extra, start, end)


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    """Return an escaped text element."""
    style = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Return a line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def path(points: Sequence[tuple[float, float]], css: str) -> str:
    """Return an open polyline."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" class="{css}"/>'


def x_axis(scale: Scale, label: str, show: Iterable[tuple[float, str]]) -> str:
    """Return the axis below the plot: grid lines, tick labels that do not touch, title."""
    parts, free = [line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")], -math.inf
    for value, words in show:
        x, half = scale(value), text_width(words) / 2
        parts.append(line(x, TOP, x, BOTTOM, "grid"))
        if x - half > free and x + half < WIDTH:
            parts.append(text(x, BOTTOM + 17, words, "tick", "middle"))
            free = x + half + 4
    parts.append(text((LEFT + RIGHT) / 2, BOTTOM + 38, label, "title", "middle"))
    return "".join(parts)


def y_axis(scale: Scale, label: str, show: Iterable[tuple[float, str]]) -> str:
    """Return the axis left of the plot, its title upright along it."""
    parts, free = [line(LEFT, TOP, LEFT, BOTTOM, "axis")], math.inf
    for value, words in show:
        y = scale(value)
        parts.append(line(LEFT, y, RIGHT, y, "grid"))
        if y < free:
            parts.append(text(LEFT - 6, y + 4, words, "tick", "end"))
            free = y - FONT
    middle = (TOP + BOTTOM) / 2
    parts.append(
        f'<text transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle" '
        f'class="title">{escape(label)}</text>'
    )
    return "".join(parts)


def figure(content: str, description: str) -> str:
    """Wrap a plot; the description is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{content}</svg>"
    )


def text_width(content: str) -> float:
    """Estimate the width of a text in plot units, on the wide side."""
    return 0.63 * FONT * len(content)


def colour(index: int) -> str:
    """Return the CSS class of a series: its colour, dashed from the second round on."""
    return f"c{index % COLOURS}" + (" dashed" if index >= COLOURS else "")


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10) if s * magnitude >= raw * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 12) for index in range(first, last + 1)]
