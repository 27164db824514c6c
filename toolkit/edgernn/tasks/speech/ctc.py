"""Read symbols off the frames of a CTC model: greedily, or with a beam of prefixes.

Source: Graves et al., "Connectionist temporal classification", ICML 2006; the beam as in Hannun et
al., "First-pass large vocabulary continuous speech recognition", 2014, without a language model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Prefix = tuple[int, ...]

# A frame that is blank as surely as this changes no prefix, only what may follow it.
_SURE = np.log(0.9999)


def greedy(logits: NDArray[Any]) -> Prefix:
    """Take the likeliest symbol of each frame; drop repeats, then blanks.

    Args:
        logits: ``[T, O]``; the last is the blank.

    Example:
        >>> greedy(np.eye(3)[[0, 0, 2, 0, 1]])
        (0, 0, 1)
    """
    best = logits.argmax(axis=1)
    first = np.append(True, best[1:] != best[:-1])
    return tuple(int(symbol) for symbol in best[first & (best != logits.shape[1] - 1)])


def beam(logits: NDArray[Any], width: int) -> Prefix:
    """Find the sequence that is likeliest over all its alignments, keeping ``width`` prefixes.

    Args:
        logits: ``[T, O]``; the last is the blank.
        width: Prefixes that are kept after each frame.
    """
    blank = logits.shape[1] - 1
    # Log-probability of each prefix, by whether its last frame was blank.
    kept: dict[Prefix, tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_softmax(logits):
        if frame[blank] > _SURE:
            kept = {
                prefix: (float(np.logaddexp(*both) + frame[blank]), -np.inf)
                for prefix, both in kept.items()
            }
            continue
        grown: dict[Prefix, tuple[float, float]] = {}

        def add(prefix: Prefix, at: int, value: float, into: dict[Any, Any] = grown) -> None:
            both = list(into.get(prefix, (-np.inf, -np.inf)))
            both[at] = float(np.logaddexp(both[at], value))
            into[prefix] = (both[0], both[1])

        for prefix, (in_blank, in_symbol) in kept.items():
            total = float(np.logaddexp(in_blank, in_symbol))
            add(prefix, 0, total + float(frame[blank]))
            for symbol in range(blank):
                value = float(frame[symbol])
                if prefix and prefix[-1] == symbol:
                    add(prefix, 1, in_symbol + value)  # the same symbol goes on
                    add((*prefix, symbol), 1, in_blank + value)  # or it is said again
                else:
                    add((*prefix, symbol), 1, total + value)
        best = sorted(grown, key=lambda prefix: -np.logaddexp(*grown[prefix]))[:width]
        kept = {prefix: grown[prefix] for prefix in best}
    return max(kept, key=lambda prefix: np.logaddexp(*kept[prefix]))


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Normalize the last axis to logarithms of probabilities."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


def edits(said: Prefix, heard: Prefix) -> int:
    """Count the insertions, deletions and replacements between two sequences.

    Example:
        >>> edits((1, 2, 3), (1, 3, 3, 4))
        2
    """
    row = list(range(len(heard) + 1))
    for place, symbol in enumerate(said, 1):
        before, row[0] = row[0], place
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (symbol != other))
    return row[-1]
