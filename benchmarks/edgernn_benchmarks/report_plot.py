"""The plots of the report page, as SVG text from plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgernn_benchmarks import svg
from edgernn_benchmarks.report_format import duration, number, size
from edgernn_benchmarks.svg import BOTTOM, LEFT, RIGHT, TOP, Scale

_LARGEST_RADIUS, _SMALLEST_RADIUS = 24.0, 4.0
_POINTS = 160
_LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class Bubble:
    """One model on one target in the trade-off plot.

    Attributes:
        label: Written beside the bubble.
        x: Median latency, microseconds.
        y: The task's metric, or the largest error.
        size_bytes: Of the model file; the bubble's area.
        series: Colour number.
    """

    label: str
    x: float
    y: float
    size_bytes: float
    series: int


def tradeoff_svg(
    bubbles: Sequence[Bubble], *, y_label: str, percent: bool, higher_is_better: bool
) -> str:
    """Plot latency (log scale) against accuracy or error, with the file size as area.

    Args:
        bubbles: At least one.
        y_label: Title of the vertical axis.
        percent: Show y as percent.
        higher_is_better: Direction, said in the axis title.
    """
    x = svg.spread((b.x for b in bubbles), LEFT + 26, RIGHT - 26, log=True, pad=0.12)
    y = svg.spread((b.y for b in bubbles), BOTTOM - 30, TOP + 30, log=False, pad=0.1)
    largest = max(b.size_bytes for b in bubbles) or 1.0
    circles = [
        (x(b.x), y(b.y), max(_LARGEST_RADIUS * math.sqrt(b.size_bytes / largest), _SMALLEST_RADIUS))
        for b in bubbles
    ]
    better = "higher" if higher_is_better else "lower"
    parts = [
        svg.x_axis(x, "median time of a call (log scale, left is better)", _times(x)),
        svg.y_axis(y, f"{y_label} ({better} is better)", _values(y, percent)),
    ]
    order = sorted(range(len(bubbles)), key=lambda index: -circles[index][2])
    for index in order:  # small ones on top
        cx, cy, r = circles[index]
        css = svg.colour(bubbles[index].series)
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{r:.1f}" class="bubble {css}"/>'
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="1.6" class="centre {css}"/>'
        )
    labels = [shortened(b.label) for b in bubbles]
    for label, circle, place in zip(labels, circles, place_labels(labels, circles), strict=True):
        parts.append(_leader(circle, place, svg.text_width(label)))
        parts.append(svg.text(place[0], place[1], label, "label"))
    described = "; ".join(f"{b.label}: {duration(b.x)}, {number(b.y, 4)}" for b in bubbles)
    return svg.figure("".join(parts), f"Median latency against {y_label}. {described}")


def place_labels(
    labels: Sequence[str],
    circles: Sequence[tuple[float, float, float]],
    others: Sequence[tuple[float, float, float]] = (),
) -> list[tuple[float, float]]:
    """Choose where each label starts (left end of the baseline) so that none overlap.

    Each label takes the first free place around its bubble, farther out if need be; where the
    plot is too full, the place with the least overlap.

    Args:
        labels: What is written.
        circles: ``(x, y, radius)`` of each bubble.
        others: Bubbles without a label, which labels are not to cover either.
    """
    taken = [(x - r, y - r, x + r, y + r) for x, y, r in (*circles, *others)]
    places: list[tuple[float, float]] = []
    for label, (cx, cy, r) in zip(labels, circles, strict=True):
        width = svg.text_width(label)
        options = [
            (left, base)
            for gap in (4.0, 16.0, 30.0, 46.0, 64.0, 84.0)
            for left, base in (
                (cx + r + gap, cy + 4),
                (cx - r - gap - width, cy + 4),
                (cx - width / 2, cy - r - gap),
                (cx - width / 2, cy + r + gap + 9),
                (cx + gap, cy - r - gap),
                (cx + gap, cy + r + gap + 9),
                (cx - gap - width, cy - r - gap),
                (cx - gap - width, cy + r + gap + 9),
            )
        ]
        held = [
            (min(max(left, LEFT + 4), svg.WIDTH - width - 2), base)
            for left, base in options
            if TOP + 10 <= base <= BOTTOM - 4
        ]
        boxes = [(left - 2, base - 12, left + width + 2, base + 4) for left, base in held]
        costs = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        places.append(held[best])
    return places


def ecdf_svg(
    samples_us: Mapping[str, ArrayLike],
    series: Mapping[str, int],
    *,
    deadline_us: float | None = None,
) -> str:
    """Plot the share of calls that took at most so long, from each row's samples.

    Args:
        samples_us: Times by row label, microseconds.
        series: Colour number by row label.
        deadline_us: Drawn as a line if it lies near the samples.
    """
    quantiles = np.concatenate([np.linspace(0, 0.98, _POINTS), np.linspace(0.98, 1, 41)[1:]])
    curves = {
        label: np.quantile(np.asarray(values, np.float64), quantiles, method="inverted_cdf")
        for label, values in samples_us.items()
    }
    ends = [value for curve in curves.values() for value in (curve[0], curve[-11])]
    if deadline_us is not None and min(ends) <= deadline_us <= 2 * max(ends):
        ends.append(deadline_us)
    x = svg.spread(ends, LEFT + 8, RIGHT - 4, log=True, pad=0.03)
    y = Scale(0, 1, BOTTOM, TOP)
    ticks = [(share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)]
    parts = [
        svg.x_axis(x, "time of a call (log scale)", _times(x)),
        svg.y_axis(y, "calls that took at most that long", ticks),
    ]
    if deadline_us is not None and x.low < deadline_us < x.high:
        at = x(deadline_us)
        parts.append(svg.line(at, TOP, at, BOTTOM, "deadline"))
        parts.append(svg.text(at - 4, BOTTOM - 6, "deadline", "label", "end"))
    for label, curve in curves.items():
        points = _stairs([x(value) for value in curve], [y(q) for q in quantiles], curve <= x.high)
        parts.append(svg.path(points, f"curve {svg.colour(series[label])}"))
    medians = "; ".join(f"{label}: median {duration(float(np.median(c)))}"
                        for label, c in curves.items())  # fmt: skip
    return svg.figure("".join(parts), f"Distribution of the call times. {medians}")


def error_over_time_svg(
    times: Sequence[float],
    errors: Mapping[str, Sequence[float]],
    *,
    series: Mapping[str, int] | None = None,
    time_label: str = "time step",
) -> str:
    """Plot errors along time, one line for each label.

    The error axis is logarithmic if the errors span more than a factor of 50; zeros then lie on
    its lower end.

    Args:
        times: Common horizontal values.
        errors: For each label as many values as ``times``.
        series: Colour number by label; None numbers them in order.
        time_label: Title of the horizontal axis.
    """
    values = [value for line in errors.values() for value in line]
    positive = [max(value, _LEAST_ERROR) for value in values if value > 0] or [1.0]
    log = max(positive) > 50 * min(positive)
    if log:
        y = svg.spread(positive, BOTTOM, TOP, log=True, pad=0.02)
    else:
        y = Scale(0.0, max(positive) * 1.08, BOTTOM, TOP)
    x = Scale(min(times), max(*times, min(times) + 1), LEFT, RIGHT - 6)
    title = "largest absolute error" + (" (log scale)" if log else "")
    parts = [
        svg.x_axis(x, time_label, [(tick, f"{tick:g}") for tick in x.ticks()]),
        svg.y_axis(y, title, [(tick, number(tick, 1 if log else 2)) for tick in y.ticks()]),
    ]
    for index, (label, curve) in enumerate(errors.items()):
        points = [(x(at), y(value)) for at, value in zip(times, curve, strict=True)]
        css = svg.colour(series[label] if series is not None else index)
        parts.append(svg.path(points, f"curve thin {css}"))
    worst = "; ".join(
        f"{label}: largest {number(max(e, default=0))}" for label, e in errors.items()
    )
    return svg.figure("".join(parts), f"Error along time. {worst}")


def size_legend_svg(largest_bytes: float) -> str:
    """Draw what the bubbles' areas mean: the largest file, a quarter of it, a sixteenth."""
    parts, x = [], 2.0
    for factor in (1.0, 0.25, 0.0625):
        r = max(_LARGEST_RADIUS * math.sqrt(factor), _SMALLEST_RADIUS)
        words = size(largest_bytes * factor)
        parts.append(f'<circle cx="{x + r:.1f}" cy="26" r="{r:.1f}" class="bubble plain"/>')
        parts.append(svg.text(x + 2 * r + 5, 30, words, "tick"))
        x += 2 * r + 22 + svg.text_width(words)
    return (
        f'<svg class="sizes" viewBox="0 0 {x:.0f} 52" width="{x:.0f}" height="52" '
        f'role="img" aria-label="Area of a bubble: file size">{"".join(parts)}</svg>'
    )


def shortened(label: str, longest: int = 28) -> str:
    """Cut the middle out of a long label."""
    if len(label) <= longest:
        return label
    half = (longest - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def _times(scale: Scale) -> list[tuple[float, str]]:
    return [(tick, _time_tick(tick)) for tick in scale.ticks()]


def _time_tick(us: float) -> str:
    value, unit = (us, "µs") if us < 1e3 else (us / 1e3, "ms") if us < 1e6 else (us / 1e6, "s")
    return f"{value:g} {unit}"


def _values(scale: Scale, percent: bool) -> list[tuple[float, str]]:
    if percent:
        return [(tick, f"{tick * 100:.4g} %") for tick in scale.ticks() if tick <= 1]
    return [(tick, f"{tick:.3g}") for tick in scale.ticks() if tick >= 0 or scale.high < 0]


def _stairs(
    xs: Sequence[float], ys: Sequence[float], shown: Sequence[bool]
) -> list[tuple[float, float]]:
    points = [(xs[0], BOTTOM * 1.0)]
    for x, y, inside in zip(xs, ys, shown, strict=True):
        if inside:
            points += [(x, points[-1][1]), (x, y)]
    return points


def _overlap(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> float:  # fmt: skip
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _leader(circle: tuple[float, float, float], place: tuple[float, float], width: float) -> str:
    """Return a line from a bubble to its label if they are far apart."""
    cx, cy, r = circle
    x = min(max(cx, place[0]), place[0] + width)
    y = place[1] + 3 if place[1] < cy - 4 else place[1] - 10 if place[1] > cy + 12 else place[1] - 4
    distance = math.hypot(x - cx, y - cy)
    if distance < r + 12:
        return ""
    start = (cx + (x - cx) * r / distance, cy + (y - cy) * r / distance)
    return svg.line(start[0], start[1], x, y, "leader")
