"""What each layer costs and saves alone, and the greedy order that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from edgernn_exporters.search.candidates import Candidate, Measured, sqnr_db
from edgernn_exporters.search.space import Choice, Space


@dataclass(frozen=True)
class Sensitivity:
    """Say what one layer in one precision does, with every other layer in float.

    Attributes:
        layer: The layer's name.
        precision: What it is quantized to.
        drop: See `Measured.drop`; None if the choice failed.
        noise: See `Measured.noise`; likewise.
        saved_bytes: How much less flash the file takes; negative if it takes more; likewise.
        saved_weight_bytes: How much smaller the constants in the ONNX file are; likewise.
        error: Why it failed; else empty.
    """

    layer: str
    precision: str
    drop: float | None
    noise: float | None
    saved_bytes: int | None
    saved_weight_bytes: int | None
    error: str = ""

    @property
    def sqnr_db(self) -> float | None:
        """See `Measured.sqnr_db`."""
        return None if self.noise is None else sqnr_db(self.noise)


def sensitivities(space: Space, found: Mapping[Choice, Candidate]) -> list[Sensitivity]:
    """Read the one-layer choices that were measured, in the order of the layers."""
    base = found[space.base].measured if space.base in found else None
    result = []
    for layer, choice in space.changes(space.base):
        if choice in found:
            precision = space.by_layer(choice)[layer]
            result.append(_sensitivity(layer, precision, found[choice], base))
    return result


def _sensitivity(
    layer: str, precision: str, candidate: Candidate, base: Measured | None
) -> Sensitivity:
    measured = candidate.measured
    if measured is None or base is None:
        return Sensitivity(layer, precision, None, None, None, None, candidate.error)
    return Sensitivity(
        layer,
        precision,
        measured.drop,
        measured.noise,
        base.flash_bytes - measured.flash_bytes,
        base.weight_bytes - measured.weight_bytes,
    )


def greedy_path(space: Space, alone: list[Sensitivity]) -> list[Choice]:
    """Quantize step by step, always where a saved byte costs the least noise.

    The noise of several layers is taken as the sum of what each adds alone. Along the lower convex
    hull of a layer's (saved bytes, noise) the price of a byte only grows, so the steps of all
    layers can be merged by price.

    Returns:
        The choice after each step, the smallest file last.
    """
    steps: list[tuple[float, int, str, str]] = []
    for layer in space.layers:
        points = [(0, 0.0, "")]
        for item in alone:
            if item.layer == layer and item.noise is not None and (item.saved_bytes or 0) > 0:
                points.append((item.saved_bytes or 0, item.noise, item.precision))
        hull = _lower_hull(points)
        for at, ((x0, y0, _), (x1, y1, precision)) in enumerate(pairwise(hull)):
            steps.append(((y1 - y0) / (x1 - x0), at, layer, precision))
    now = space.by_layer(space.base)
    path = []
    for _, _, layer, precision in sorted(steps, key=lambda step: step[:2]):
        now[layer] = precision
        path.append(tuple(now.values()))
    return path


def _lower_hull(points: list[tuple[int, float, str]]) -> list[tuple[int, float, str]]:
    """Return the points below which none lies, from left to right."""
    hull: list[tuple[int, float, str]] = []
    for x, y, name in sorted(points):
        if hull and hull[-1][0] == x:  # as many bytes, more noise
            continue
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], (x, y, name)):
            hull.pop()
        hull.append((x, y, name))
    return hull


def _is_above(
    a: tuple[int, float, str], b: tuple[int, float, str], c: tuple[int, float, str]
) -> bool:
    """Tell whether ``b`` lies on or above the line from ``a`` to ``c``."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
