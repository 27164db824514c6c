"""Decide by the mean over time of per-step logits, and say the result in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.base import Run, Split
from edgernn.tasks.outputs import output_of, require_examples

_SCORE_BATCH = 100


def decided(run: Run, split: Split, task: str, classes: int) -> dict[str, float]:
    """Measure the share of rows whose largest mean logit is the right one.

    Args:
        run: Maps the inputs to ``{"y": [B, T, classes]}``.
        split: What to measure on.
        task: Its name, for messages.
        classes: How many there are.

    Raises:
        InputError: The outputs are not per-step logits, or the split is empty.
    """
    right = total = 0
    for batch in split.batches(_SCORE_BATCH):
        choice = mean_logits(run(batch.inputs), task, classes).argmax(axis=1)
        right += int(np.count_nonzero(choice == batch.targets))
        total += len(batch.targets)
    require_examples(total)
    return {"accuracy": right / total}


def mean_logits(
    outputs: Mapping[str, NDArray[Any]], task: str, classes: int
) -> NDArray[np.float64]:
    """Average the logits ``y`` over time: ``[B, T, classes]`` to ``[B, classes]``.

    Raises:
        InputError: The outputs are not such logits.
    """
    y = output_of(outputs, task, ("B", "T", classes), "one logit per class and step")
    return np.asarray(y.mean(axis=1, dtype=np.float64))


def named(logits: NDArray[np.float64], names: Sequence[str]) -> str:
    """Name the class of each row ``[B, classes]`` with its probability; rows by commas."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return ", ".join(f"{names[row.argmax()]} ({row.max():.2f})" for row in shares)
