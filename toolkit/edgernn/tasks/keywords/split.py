"""One part of the data: its epochs for training, its batches for measuring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import LogMel
from edgernn.tasks.base import Batch
from edgernn.tasks.keywords.augment import Ranges, Spectra, epoch_batches, spectra
from edgernn.tasks.keywords.data import Clip


@dataclass(frozen=True)
class KeywordSplit:
    """Hold the clips of one split, and compute their features when first needed.

    Attributes:
        clips: The utterances.
        mel: Their features.
        ranges: Limits of the augmentation in :meth:`epoch`.
        repeats: How often an epoch takes every clip, each time perturbed in another way.
    """

    clips: tuple[Clip, ...]
    mel: LogMel
    ranges: Ranges
    repeats: int = 1

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.clips)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield the augmented, shuffled batches of one epoch: the same for the same arguments."""
        rng = np.random.default_rng((seed, epoch))
        batches = epoch_batches(
            self._spectra, self.mel, self.ranges, rng, batch_size=batch_size, repeats=self.repeats
        )
        for rows, x, lengths in batches:
            yield Batch(x=x, lengths=lengths, targets=self._targets[rows])

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every clip once, as recorded, sorted by length, each batch of one length."""
        lengths = np.array([self.mel.frames(len(clip.samples)) for clip in self.clips])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for at in range(0, len(rows), batch_size):
                batch = rows[at : at + batch_size]
                yield Batch(
                    x=np.stack([self.mel(self.clips[row].samples) for row in batch]),
                    lengths=np.full(len(batch), length, np.int64),
                    targets=self._targets[batch],
                )

    @cached_property
    def _targets(self) -> NDArray[np.int64]:
        return np.array([clip.digit for clip in self.clips], np.int64)

    @cached_property
    def _spectra(self) -> Spectra:
        return spectra([clip.samples for clip in self.clips], self.mel, self.ranges)
