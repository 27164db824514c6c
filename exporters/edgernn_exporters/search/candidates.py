"""Choices as they were measured: dominance, the Pareto front, limits, and the one to take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.space import Choice

_LEAST_NOISE = 1e-20


def sqnr_db(noise: float) -> float:
    """Return a share of noise in the signal as signal-to-noise ratio in decibels, at most 200."""
    return -10 * math.log10(max(noise, _LEAST_NOISE))


@dataclass(frozen=True)
class Measured:
    """Hold what was measured of one quantized file.

    Attributes:
        metric: The task's metric on the validation split.
        drop: How much worse that is than the float file's: the difference where higher is
            better, such as 0.005 for half a point of accuracy; else the relative increase.
        noise: Mean squared distance of the outputs from the float file's, over their mean
            square; the largest of all outputs.
        weight_bytes: Constants in the ONNX file.
        flash_bytes: Constants of the generated C; those in the ONNX file if it has no C form.
        ram_bytes: State and scratch memory of the generated C; None without a C form.
        latency: Microseconds, or instructions, of one time step; None where not asked for.
        note: Why there is no C form; else empty.
    """

    metric: float
    drop: float
    noise: float
    weight_bytes: int
    flash_bytes: int
    ram_bytes: int | None = None
    latency: float | None = None
    note: str = ""

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio of the outputs in decibels, at most 200."""
        return sqnr_db(self.noise)


@dataclass(frozen=True)
class Candidate:
    """One choice, with what was measured or why that failed.

    Attributes:
        choice: Precision of each layer.
        origin: What brought it up: ``"one layer"``, ``"every choice"``, ``"uniform"``,
            ``"greedy"``, ``"optuna"`` or ``"refined"``.
        measured: None if it failed.
        error: Why it failed; else empty.
    """

    choice: Choice
    origin: str
    measured: Measured | None
    error: str = ""

    @property
    def is_float(self) -> bool:
        """Whether no layer is quantized."""
        return set(self.choice) <= {FLOAT}


@dataclass(frozen=True)
class Limits:
    """Hold what the chosen file has to keep; None is no limit.

    Attributes:
        drop: Largest `Measured.drop`.
        flash_bytes: Largest `Measured.flash_bytes`.
        ram_bytes: Largest `Measured.ram_bytes`.
        latency: Largest `Measured.latency`.
    """

    drop: float = 0.005
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    latency: float | None = None

    def excess(self, measured: Measured) -> dict[str, float]:
        """Return by limit how far it is exceeded, as a share of it; 0 or less is within.

        The drop counts in units of the limit, or of 0.001 if no drop is allowed. What is limited
        and could not be measured is infinitely far.
        """
        far = {"drop": (measured.drop - self.drop) / max(abs(self.drop), 1e-3)}
        for item in fields(self)[1:]:
            limit, value = getattr(self, item.name), getattr(measured, item.name)
            if limit is not None:
                far[item.name] = math.inf if value is None else (value - limit) / max(limit, 1)
        return far

    def exceeded(self, measured: Measured) -> list[str]:
        """Name the limits that are exceeded."""
        return [name for name, far in self.excess(measured).items() if far > 0]

    def objectives(self, measured: Measured) -> tuple[float, ...]:
        """Return what is minimized: the drop, flash, and what else is limited."""
        values: list[float] = [measured.drop, measured.flash_bytes]
        for name in ("ram_bytes", "latency"):
            if getattr(self, name) is not None:
                value = getattr(measured, name)
                values.append(math.inf if value is None else value)
        return tuple(values)


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Tell whether ``a`` is nowhere larger than ``b`` and somewhere smaller.

    Example:
        >>> dominates((1, 2), (1, 3)), dominates((1, 2), (1, 2)), dominates((1, 2), (0, 3))
        (True, False, False)
    """
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def pareto_front(candidates: Iterable[Candidate], limits: Limits) -> list[Candidate]:
    """Return the candidates that no other one dominates, the smallest first.

    Of those with equal objectives the one with the least noise stays.
    """
    best: dict[tuple[float, ...], Candidate] = {}
    for candidate in candidates:
        if candidate.measured is not None:
            key = limits.objectives(candidate.measured)
            other = best.get(key)
            if other is None or candidate.measured.noise < _of(other).noise:
                best[key] = candidate
    found = [key for key in best if not any(dominates(other, key) for other in best)]
    return [best[key] for key in sorted(found, key=lambda key: (key[1], key))]


def choose(candidates: Iterable[Candidate], limits: Limits) -> Candidate | None:
    """Return the candidate with the least flash that keeps every limit, or None.

    Of several the one with the least noise is taken.
    """
    kept = [
        item for item in candidates
        if item.measured is not None and not limits.exceeded(item.measured)
    ]  # fmt: skip
    return min(kept, key=lambda item: (_of(item).flash_bytes, _of(item).noise), default=None)


def nearest(candidates: Iterable[Candidate], limits: Limits) -> list[Candidate]:
    """Return up to three candidates that miss the limits by least.

    First the one with the least sum of excesses, then the one that exceeds nothing but the drop
    and that by least, and the one whose drop is allowed and the rest exceeded by least.
    """
    known = [item for item in candidates if item.measured is not None]

    def total(item: Candidate) -> float:
        return sum(max(far, 0.0) for far in limits.excess(_of(item)).values())

    found = [min(known, key=total, default=None)]
    small = [item for item in known if limits.exceeded(_of(item)) in ([], ["drop"])]
    right = [item for item in known if "drop" not in limits.exceeded(_of(item))]
    found += [min(group, key=total, default=None) for group in (small, right)]
    return list(dict.fromkeys(item for item in found if item is not None))


def measured_from_json(value: Any) -> Measured:
    """Read `dataclasses.asdict` of a `Measured`.

    Raises:
        TypeError: It is something else.
    """
    measured = Measured(**value)
    for name in ("metric", "drop", "noise", "weight_bytes", "flash_bytes"):
        number = getattr(measured, name)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name} must be a number, not {number!r:.60}")
    return measured


def _of(candidate: Candidate) -> Measured:
    assert candidate.measured is not None
    return candidate.measured
