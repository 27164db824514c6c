"""Numbers as people read them: three significant digits and a fitting unit."""

from __future__ import annotations

import math

NOTHING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Render with so many significant digits, without an exponent where it stays short.

    Example:
        >>> number(0.0254988), number(12345.6), number(3.2e-7)
        ('0.0255', '12,346', '3.2e-07')
    """
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    size = abs(value)
    if size < 1e-4 or size >= 1e9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}"


def duration(us: float | None) -> str:
    """Render microseconds as ``36.7 µs``, ``1.04 ms`` or ``2.50 s``."""
    if us is None:
        return NOTHING
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if us >= size:
            return f"{number(us / size)} {unit}"
    return f"{number(us * 1e3)} ns"


def size(count: float | None) -> str:
    """Render bytes in decimal units, such as ``85.0 kB``."""
    if count is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= factor:
            return f"{number(count / factor)} {unit}"
    return f"{count:.0f} B"


def rate(per_second: float | None) -> str:
    """Render a rate as ``24.4 k/s`` or ``1.20 M/s``."""
    if per_second is None:
        return NOTHING
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if per_second >= factor:
            return f"{number(per_second / factor)} {unit}/s"
    return f"{number(per_second)} /s"


def share(value: float | None) -> str:
    """Render a share of one as percent."""
    if value is None:
        return NOTHING
    if 0 < value < 1e-4:
        return "< 0.01 %"
    return f"{value * 100:.2f}".rstrip("0").rstrip(".") + " %"


def score(value: float | None, metric: str | None) -> str:
    """Render the task's metric: accuracies as percent, others as numbers."""
    if value is not None and "accuracy" in (metric or "accuracy") and 0 <= value <= 1:
        return f"{value * 100:.2f} %"
    return number(value, 4)


def ratio(value: float) -> str:
    """Render a ratio as ``0.87×``."""
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"
