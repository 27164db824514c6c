"""Strings of digits, joined from recordings of single ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import LogMel
from edgernn.tasks.base import PADDING, Batch
from edgernn.tasks.keywords.data import RATE_HZ, Clip
from edgernn.tasks.splits import buckets, padded

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

LONGEST = 7
_GAP_S = (0.0, 0.3)  # between two digits, and before and after all of them
_SNR_DB = (15.0, 40.0)
_SPEED, _GAIN_DB, _TILT = 0.15, 10.0, 0.3  # of training, around none


@dataclass(frozen=True)
class StringSplit:
    """Join the recordings of one split to strings of 1 to 7 digits of one speaker each.

    Attributes:
        clips: Recordings of single digits.
        mel: Features.
        count: Strings; in an epoch of training, too.
        seed: Of the strings that `batches` yields.
    """

    clips: tuple[Clip, ...]
    mel: LogMel
    count: int
    seed: int

    def __len__(self) -> int:
        """Count the strings."""
        return self.count

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield new strings with changed speed, level and tone: the same for the same arguments."""
        rng = np.random.default_rng((self.seed, seed, epoch))
        drawn = [self._drawn(rng, changed=True) for _ in range(self.count)]
        lengths = np.array([len(x) for x, _ in drawn], np.int64)
        for rows in buckets(lengths, rng, batch_size):
            yield _batch([drawn[row] for row in rows])

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the same strings in each call, sorted by length, each batch of one length."""
        lengths = np.array([len(x) for x, _ in self._held], np.int64)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for at in range(0, len(rows), batch_size):
                yield _batch([self._held[row] for row in rows[at : at + batch_size]])

    def audio(self, rng: np.random.Generator, *, changed: bool) -> tuple[Float32, Int64]:
        """Join one string: samples ``[N]`` and digits ``[1..7]``."""
        speaker = self._speakers[int(rng.integers(len(self._speakers)))]
        clips = self._of_speaker[speaker]
        chosen = [
            clips[int(rng.integers(len(clips)))] for _ in range(int(rng.integers(1, LONGEST + 1)))
        ]
        parts = [_silence(rng)]
        speed = float(np.exp(rng.uniform(-_SPEED, _SPEED))) if changed else 1.0
        for clip in chosen:
            parts += [_faster(clip.samples, speed), _silence(rng)]
        samples: NDArray[Any] = np.concatenate(parts)
        if changed:
            samples = samples + rng.uniform(-_TILT, _TILT) * np.append(0, samples[:-1])
        power = np.mean(np.concatenate([clip.samples for clip in chosen]) ** 2)
        noise_db = rng.uniform(*_SNR_DB)
        noise = np.sqrt(power) * 10 ** (-noise_db / 20) * rng.standard_normal(len(samples))
        gain = 10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB) / 20) if changed else 1.0
        heard: Float32 = (gain * (samples + noise)).clip(-1, 1).astype(np.float32)
        return heard, np.array([clip.digit for clip in chosen], np.int64)

    def _drawn(self, rng: np.random.Generator, *, changed: bool) -> tuple[Float32, Int64]:
        samples, digits = self.audio(rng, changed=changed)
        return self.mel(samples), digits

    @cached_property
    def _held(self) -> list[tuple[Float32, Int64]]:
        rng = np.random.default_rng(self.seed)
        return [self._drawn(rng, changed=False) for _ in range(self.count)]

    @cached_property
    def _speakers(self) -> list[str]:
        return sorted({clip.speaker for clip in self.clips})

    @cached_property
    def _of_speaker(self) -> dict[str, list[Clip]]:
        return {
            name: [clip for clip in self.clips if clip.speaker == name] for name in self._speakers
        }


def _batch(drawn: Sequence[tuple[Float32, Int64]]) -> Batch:
    rows, digits = zip(*drawn, strict=True)
    lengths = np.array([len(x) for x in rows], np.int64)
    return Batch(padded(rows, 0), lengths, padded(digits, PADDING))


def _silence(rng: np.random.Generator) -> Float32:
    return np.zeros(int(rng.uniform(*_GAP_S) * RATE_HZ), np.float32)


def _faster(samples: Float32, speed: float) -> Float32:
    """Play a recording faster or slower, its pitch with it."""
    if speed == 1.0:
        return samples
    places = np.arange(0, len(samples) - 1, speed)
    heard: Float32 = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return heard
