"""Parts of data sets that most tasks can use: sequences in memory, and pieces of a long series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.tasks.base import PADDING, Batch, Split
from edgernn.tasks.scaling import Scale

Array = NDArray[Any]
Int64 = NDArray[np.int64]
Augment = Callable[[np.random.Generator, Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class SequenceSplit:
    """Hold sequences of different lengths, each with its target.

    Attributes:
        sequences: Features ``[T, F]`` or symbols ``[T]`` of each example.
        targets: Of each example: a class ``[]``, numbers ``[O]``, or one of either for each step.
        feeds_lengths: Whether exported models take the lengths (`Batch.feeds_lengths`).
        augment: Changes one example for training, or None.
        scale: What the features were standardized with, or None.
    """

    sequences: Sequence[Array]
    targets: Sequence[Array]
    feeds_lengths: bool = False
    augment: Augment | None = None
    scale: Scale | None = None

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.sequences)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield all examples, shuffled, in batches of similar length."""
        rng = np.random.default_rng((seed, epoch))
        lengths = np.array([len(sequence) for sequence in self.sequences], np.int64)
        for rows in buckets(lengths, rng, batch_size):
            chosen = [(self.sequences[row], self.targets[row]) for row in rows]
            if self.augment is not None:
                chosen = [self.augment(rng, *pair) for pair in chosen]
            yield self._batch(chosen)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, sorted by length, each batch of one length."""
        lengths = np.array([len(sequence) for sequence in self.sequences], np.int64)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for at in range(0, len(rows), batch_size):
                batch = rows[at : at + batch_size]
                yield self._batch([(self.sequences[row], self.targets[row]) for row in batch])

    def _batch(self, examples: list[tuple[Array, Array]]) -> Batch:
        sequences, targets = zip(*examples, strict=True)
        return Batch(
            x=padded(sequences, 0),
            lengths=np.array([len(sequence) for sequence in sequences], np.int64),
            targets=padded(targets, PADDING if targets[0].dtype.kind == "i" else 0),
            feeds_lengths=self.feeds_lengths,
        )


@dataclass(frozen=True)
class SeriesSplit:
    """Hold one long series with a target for each step.

    Attributes:
        inputs: Features ``[N, F]`` or symbols ``[N]``.
        targets: Of each step: numbers ``[N, O]`` or classes ``[N]``.
        context: Steps at the start that come from before this part: they are read, not measured.
        window: Steps of a training example.
        stride: Steps from the start of one training example to that of the next.
        piece: Steps that are measured in one row, after ``context`` more that are read.
        scale: What the features were standardized with, or None.
    """

    inputs: Array
    targets: Array
    context: int
    window: int
    stride: int
    piece: int
    scale: Scale | None = None

    def __len__(self) -> int:
        """Count the steps that are measured."""
        return len(self.inputs) - self.context

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield shuffled windows, the first from a start that each epoch draws."""
        rng = np.random.default_rng((seed, epoch))
        last = len(self.inputs) - self.window
        starts = np.arange(int(rng.integers(0, min(self.stride, last + 1))), last + 1, self.stride)
        starts = rng.permutation(starts)
        for at in range(0, len(starts), batch_size):
            steps = starts[at : at + batch_size, None] + np.arange(self.window)
            yield Batch(
                self.inputs[steps], np.full(len(steps), self.window), self.targets[steps]
            )  # fmt: skip

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every measured step once: ``x [B, C+P]`` has ``context`` more than ``targets``."""
        whole = np.arange(self.context, len(self.inputs) - self.piece + 1, self.piece)
        rest = self.context + len(whole) * self.piece
        for at in range(0, len(whole), batch_size):
            yield self._pieces(whole[at : at + batch_size], self.piece)
        if rest < len(self.inputs):
            yield self._pieces(np.array([rest]), len(self.inputs) - rest)

    def _pieces(self, starts: Int64, steps: int) -> Batch:
        measured = starts[:, None] + np.arange(steps)
        read = starts[:, None] + np.arange(-self.context, steps)
        lengths = np.full(len(starts), self.context + steps)
        return Batch(self.inputs[read], lengths, self.targets[measured])


def scale_of(splits: Mapping[str, Split] | None) -> Scale:
    """Return what the features of the training part were standardized with."""
    train = None if splits is None else splits["train"]
    scale = train.scale if isinstance(train, SequenceSplit | SeriesSplit) else None
    if scale is None:
        raise ValueError("the scale follows from the training data; give what splits returned")
    return scale


def buckets(lengths: Int64, rng: np.random.Generator, batch_size: int) -> list[Int64]:
    """Shuffle rows, sort them by length within groups of eight batches, shuffle the batches.

    Returns:
        Row numbers of each batch.
    """
    order = rng.permutation(len(lengths))
    batches: list[Int64] = []
    for begin in range(0, len(order), 8 * batch_size):
        group = order[begin : begin + 8 * batch_size]
        group = group[np.argsort(lengths[group], kind="stable")]
        batches += [group[at : at + batch_size] for at in range(0, len(group), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def padded(rows: Sequence[Array], value: int) -> Array:
    """Stack arrays that differ in their first axis, filled up at its end."""
    if rows[0].ndim == 0:
        return np.stack(rows)
    longest = max(len(row) for row in rows)
    filled = np.full((len(rows), longest, *rows[0].shape[1:]), value, rows[0].dtype)
    for row, values in zip(filled, rows, strict=True):
        row[: len(values)] = values
    return filled
