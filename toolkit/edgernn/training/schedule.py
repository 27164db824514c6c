"""Numbers that follow from where in the training a step is, so that none has to be saved."""

from __future__ import annotations

import math

import numpy as np

_RISE = 0.3  # share of the training with a rising learning rate, and the
_START_DIVISOR = 25.0  # two divisors: Smith and Topin, arXiv:1708.07120, as PyTorch's OneCycleLR
_END_DIVISOR = 25.0e4


def learning_rate(done: float, peak: float) -> float:
    """Return the one-cycle learning rate: up along a cosine, then down along another.

    Args:
        done: Share of the training that lies behind, 0 to 1.
        peak: Largest learning rate, reached at 0.3.

    Example:
        >>> [round(learning_rate(done, 0.01), 5) for done in (0.0, 0.3, 1.0)]
        [0.0004, 0.01, 0.0]
    """
    if done < _RISE:
        return _between(peak / _START_DIVISOR, peak, done / _RISE)
    return _between(peak, peak / _END_DIVISOR, (min(done, 1.0) - _RISE) / (1.0 - _RISE))


def average_decay(step: int, decay: float) -> float:
    """Return the decay of the averaged weights at a step, smaller at the start.

    Without the smaller start, the average would hold on to the random initial weights for about
    ``1 / (1 - decay)`` steps.

    Args:
        step: Optimizer steps before this one.
        decay: Its limit.

    Example:
        >>> average_decay(0, 0.99), average_decay(10_000, 0.99)
        (0.1, 0.99)
    """
    return min(decay, (1 + step) / (10 + step))


def seed_of(seed: int, epoch: int, process: int) -> int:
    """Return the seed of PyTorch's generators for one epoch of one process; epoch 0 is set-up.

    Example:
        >>> seed_of(0, 1, 0) == seed_of(0, 2, 0)
        False
    """
    return int(np.random.SeedSequence((seed, epoch, process)).generate_state(1, np.uint64)[0] >> 1)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * done)) / 2.0
