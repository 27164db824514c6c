"""Fit the tables of the integer tanh in `edgernn.integer.activations`.

For each of 64 intervals, every triple of integers near the least-squares parabola is tried at all
1024 arguments; the one with the least largest error is printed.

    python scripts/fit_integer_tanh.py
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

INTERVALS = 64
STEPS = 1024


def evaluate(start: int, slope: int, bend: int) -> tuple[NDArray[np.int64], bool]:
    """Return the values on one interval, and whether every slope is positive or 0."""
    t = np.arange(STEPS)
    slopes = slope - ((t * bend + 512) >> 10)
    return start + ((t * slopes + 2048) >> 12), bool(slopes.min() >= 0)


def fit(interval: int) -> tuple[int, int, int]:
    """Return start, slope and bend of one interval."""
    t = np.arange(STEPS)
    wanted = np.minimum(np.tanh((interval * STEPS + t) / 8192) * 32768, 32767)
    square, linear, constant = np.polyfit(t, wanted, 2)
    bend, slope, start = (int(-square * 2**22), int(linear * 2**12), int(np.floor(constant)))
    starts = range(start - 1, start + 3) if interval else [0]  # tanh is odd
    slopes = range(max(0, slope - 8), slope + 9)
    bends = range(max(0, bend - 24), max(0, bend) + 26) if interval else range(300)
    best = (np.inf, np.inf, (0, 0, 0))
    for triple in itertools.product(starts, slopes, bends):
        values, falling = evaluate(*triple)
        if falling:
            error = np.abs(values - wanted)
            best = min(best, (error.max(), np.square(error).sum(), triple))
    return best[2]


def main() -> None:
    """Print the three tables."""
    fitted = [fit(interval) for interval in range(INTERVALS)]
    for name, column in zip(("START", "SLOPE", "BEND"), zip(*fitted, strict=True), strict=True):
        print(f"TANH_{name} = {column}")


if __name__ == "__main__":
    main()
