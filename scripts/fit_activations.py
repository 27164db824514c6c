#!/usr/bin/env python3
"""Fit the coefficients of `edgernn_activations.h`.

    python scripts/fit_activations.py

Needs numpy and mpmath. Prints each set in order of the power, as float32 in the form the header
has them. All are minimax fits by Remez exchange in 40 digits: the largest weighted error is as
small as the number of coefficients allows. Errors of the finished functions, with all rounding:
`scripts/activation_error.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 40
Function = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """Hold a rational function in one variable, and its largest weighted error."""

    numerator: list[mp.mpf]
    denominator: list[mp.mpf]
    error: float


def fit(
    target: Function,
    low: float,
    high: float,
    degrees: tuple[int, int],
    weight: Function,
    variable: Function = lambda x: x,
) -> Fit:
    """Fit ``P(v) / Q(v)`` with ``v = variable(x)`` and ``Q(0) = 1`` to a function of x.

    Args:
        target: What to fit.
        low: Smallest x.
        high: Largest x.
        degrees: Of P and of Q.
        weight: The error at x counts times this.
        variable: What P and Q are polynomials of.
    """
    above, below = degrees
    unknowns = above + below + 2
    grid = [mp.mpf(x) for x in _chebyshev(low, high, 40 * unknowns)]
    values = [(target(x), weight(x), variable(x)) for x in grid]
    at = [round((len(grid) - 1) * i / (unknowns - 1)) for i in range(unknowns)]
    for _ in range(30):
        top, bottom = _level([values[i] for i in at], above, below)
        errors = [w * (_horner(top, v) / _horner(bottom, v) - f) for f, w, v in values]
        chosen = _extrema(errors, unknowns)
        if chosen == at:
            break
        at = chosen
    return Fit(top, bottom, float(max(abs(error) for error in errors)))


def _chebyshev(low: float, high: float, count: int) -> np.ndarray:
    """Return points that are dense near both ends, in rising order."""
    return (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)


def _level(
    points: list[tuple[mp.mpf, mp.mpf, mp.mpf]], above: int, below: int
) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Find P and Q whose weighted errors at the points are equal and alternate in sign."""
    bottom = [mp.mpf(1)] + [mp.mpf(0)] * below
    for _ in range(1 if below == 0 else 40):
        rows, right = [], []
        for i, (f, w, v) in enumerate(points):
            sign = (-1) ** i / w * _horner(bottom, v)  # the error times the last denominator
            rows.append([v**j for j in range(above + 1)] + [-f * v**j for j in range(1, below + 1)])
            rows[-1].append(-sign)
            right.append(f)
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(right))
        top = list(solution[: above + 1])
        bottom = [mp.mpf(1), *solution[above + 1 : above + below + 1]]
    return top, bottom


def _extrema(errors: list[mp.mpf], count: int) -> list[int]:
    """Return where the error is largest between its changes of sign, ``count`` neighbours."""
    best: list[int] = []
    for i, error in enumerate(errors):
        if best and (error > 0) == (errors[best[-1]] > 0):
            if abs(error) > abs(errors[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    while len(best) > count:  # drop the smaller end
        best.pop(0 if abs(errors[best[0]]) < abs(errors[best[-1]]) else -1)
    if len(best) < count:
        raise SystemExit("the fit does not alternate often enough: choose other degrees")
    return best


def _horner(coefficients: list[mp.mpf], v: mp.mpf) -> mp.mpf:
    total = mp.mpf(0)
    for coefficient in reversed(coefficients):
        total = total * v + coefficient
    return total


def literal(value: mp.mpf) -> str:
    """Return a value as C writes the nearest float32, in 9 digits."""
    text = f"{float(np.float32(float(value))):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _exp2(f: mp.mpf) -> mp.mpf:
    return (mp.mpf(2) ** f - 1) / f if f != 0 else mp.log(2)


def _exp(r: mp.mpf) -> mp.mpf:
    return (mp.exp(r) - 1 - r) / r**2 if abs(r) > 1e-9 else mp.mpf(1) / 2


def _log_ratio(u: mp.mpf) -> mp.mpf:
    s = mp.sqrt(u)
    return (2 * mp.atanh(s) - 2 * s) / s**3 if u > 1e-12 else mp.mpf(2) / 3


FITS = {
    # name: what it is, P and Q
    "EDGERNN_EXP2_C1..C5": fit(_exp2, -0.5, 0.5, (4, 0), lambda f: 1 / _exp2(f)),
    "edgernn_exp": fit(_exp, -0.347, 0.347, (4, 0), lambda r: r**2 + mp.mpf("1e-9")),
    "edgernn_log_ratio": fit(
        _log_ratio, 0, 1 / 9, (3, 0), lambda u: mp.sqrt(u) ** 3 + mp.mpf("1e-9")
    ),
    "edgernn_erf": fit(
        lambda x: mp.erf(x) / x, 1e-6, 3.92, (5, 5), lambda x: x / mp.erf(x), lambda x: x * x
    ),
}


def main() -> None:
    """Print all sets."""
    for name, result in FITS.items():
        print(f"{name}: largest weighted error {result.error:.2e}")
        print("  P", ", ".join(literal(value) for value in result.numerator))
        if len(result.denominator) > 1:
            print("  Q", ", ".join(literal(value) for value in result.denominator))


if __name__ == "__main__":
    main()
