"""Augmentation of spoken words on their power spectra, a batch at a time.

Everything that can differ between two speakers, two microphones and two rooms and leaves the
word the same is drawn anew for every clip in every epoch:

- vocal-tract length: the mel bands are read from a stretched frequency axis (Jaitly and Hinton,
  "Vocal Tract Length Perturbation improves speech recognition", 2013);
- speed: frames are interpolated along time;
- position: the clip begins late, or some frames in, and is followed by a pause;
- channel: a smooth random gain over the bands;
- noise: frames of real noise with a random tilt, at a random level;
- level: one gain for everything;
- masks over bands and over time (Park et al., "SpecAugment", 2019).

The spectra are computed once, so that an epoch need not filter samples and transform them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import LogMel
from edgernn.tasks.splits import buckets

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_NOISE_FRAMES = 4000
_WARPS = 41
_SMOOTH = 3  # Cosines of the noise's tilt.


@dataclass(frozen=True)
class Ranges:
    """Say how far each perturbation may go.

    Attributes:
        vocal_tract: Warp of the frequency axis is uniform in 1 minus to 1 plus this.
        speed: Natural logarithm of the speed is uniform in minus to plus this.
        lead_frames: Lowest and highest number of frames before the clip; negative cuts it.
        tail_frames: The same after the clip.
        max_frames: Longest row; what is beyond is cut.
        channel_db: Standard deviation of each cosine of the channel's gain, weighted by the
            inverse square root of its number.
        channel_cosines: Number of cosines over the mel axis.
        snr_db: Lowest and highest signal-to-noise ratio.
        noise_tilt_db: Like ``channel_db``, for the noise's spectrum.
        level_db: Gain is uniform in minus to plus this.
        band_masks: Number of masks over bands, each of 0 to ``band_mask_width`` bands.
        band_mask_width: See above.
        time_masks: Number of masks over time, each of 0 to ``time_mask_frames`` frames.
        time_mask_frames: See above.
        gentle_share: Share of the clips whose perturbations are all scaled down, by the square
            of a uniform number, so that nearly clean clips are seen too.
    """

    vocal_tract: float = 0.15
    speed: float = 0.25
    lead_frames: tuple[int, int] = (-3, 12)
    tail_frames: tuple[int, int] = (-3, 12)
    max_frames: int = 110
    channel_db: float = 3.0
    channel_cosines: int = 6
    snr_db: tuple[float, float] = (10.0, 45.0)
    noise_tilt_db: float = 4.0
    level_db: float = 15.0
    band_masks: int = 1
    band_mask_width: int = 6
    time_masks: int = 0
    time_mask_frames: int = 8
    gentle_share: float = 0.5


@dataclass(frozen=True)
class Spectra:
    """Hold the power spectra of many clips, end to end.

    Attributes:
        power: ``[sum of T, bins]``.
        starts: First frame of each clip ``[N]``.
        lengths: Frames of each clip ``[N]``.
        levels: Mean band energy of each clip ``[N]``.
        banks: Filterbanks for equally spaced warps ``[W, bins, bands]``.
        noise: Band energies of white noise ``[K, bands]``, with mean one in every band.
    """

    power: Float32
    starts: Int64
    lengths: Int64
    levels: Float32
    banks: Float32
    noise: Float32


def spectra(clips: Sequence[Float32], mel: LogMel, ranges: Ranges) -> Spectra:
    """Compute once what every epoch starts from.

    Args:
        clips: Samples ``[N]`` of each clip.
        mel: The features to be made.
        ranges: Limits of the perturbations.
    """
    parts = [mel.power(clip) for clip in clips]
    lengths = np.array([len(part) for part in parts], np.int64)
    bank = mel.filterbank()
    limits = (1 - ranges.vocal_tract, 1 + ranges.vocal_tract)
    white = np.random.default_rng(0).standard_normal(_NOISE_FRAMES * mel.hop)
    noise = mel.power(white) @ bank
    return Spectra(
        power=np.concatenate(parts),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        levels=np.array([(part @ bank).mean() for part in parts], np.float32),
        banks=np.stack([mel.filterbank(float(w)) for w in np.linspace(*limits, _WARPS)]),
        noise=noise / noise.mean(axis=0),
    )


def epoch_batches(
    source: Spectra,
    mel: LogMel,
    ranges: Ranges,
    rng: np.random.Generator,
    *,
    batch_size: int,
    repeats: int = 1,
) -> Iterator[tuple[Int64, Float32, Int64]]:
    """Yield every clip ``repeats`` times, perturbed, in batches of similar length.

    Yields:
        Clip numbers ``[B]``, features ``[B, T, bands]`` (zero beyond each length), and frames
        per row ``[B]``.
    """
    clips = np.tile(np.arange(len(source.lengths)), repeats)
    count = len(clips)
    gentle = rng.uniform(0, 1, count) < ranges.gentle_share
    strength = np.where(gentle, rng.uniform(0, 1, count) ** 2, 1.0)
    speed = np.exp(strength * rng.uniform(-ranges.speed, ranges.speed, count))
    lead = rng.integers(ranges.lead_frames[0], ranges.lead_frames[1] + 1, count)
    tail = rng.integers(ranges.tail_frames[0], ranges.tail_frames[1] + 1, count)
    body = np.rint(source.lengths[clips] / speed).astype(np.int64)
    frames = np.clip(lead + body + tail, min(8, ranges.max_frames), ranges.max_frames)
    for rows in buckets(frames, rng, batch_size):
        picked = _Rows(clips[rows], strength[rows], speed[rows], lead[rows], frames[rows])
        yield clips[rows], _perturb(source, mel, ranges, rng, picked), frames[rows]


@dataclass(frozen=True)
class _Rows:
    """Say what was drawn for the rows of a batch, each ``[B]``."""

    clips: Int64
    strength: Float64
    speed: Float64
    lead: Int64
    frames: Int64


def _perturb(
    source: Spectra, mel: LogMel, ranges: Ranges, rng: np.random.Generator, rows: _Rows
) -> Float32:
    """Make the features ``[B, T, bands]`` of one batch, T the largest of ``rows.frames``."""
    clips, strength, frames = rows.clips, rows.strength, rows.frames
    count, steps = len(clips), int(frames.max())
    lengths = source.lengths[clips][:, None]
    every = source.starts[clips][:, None] + np.minimum(np.arange(lengths.max()), lengths - 1)
    half = (len(source.banks) - 1) / 2
    banks = source.banks[np.rint(half + strength * rng.uniform(-half, half, count)).astype(int)]
    energy = np.matmul(source.power[every], banks)

    position = (np.arange(steps) - rows.lead[:, None]) * rows.speed[:, None]
    inside = (position >= 0) & (position <= lengths - 1)
    before = np.clip(position, 0, lengths - 1).astype(np.int64)
    weight = np.clip(position - before, 0, 1)[..., None].astype(np.float32)
    row = np.arange(count)[:, None]
    energy = (
        energy[row, before] * (1 - weight)
        + energy[row, np.minimum(before + 1, lengths - 1)] * weight
    ) * inside[..., None]

    weak = strength[:, None]
    channel_db = _smooth(rng, count, mel.bands, ranges.channel_cosines) * ranges.channel_db * weak
    tilt_db = _smooth(rng, count, mel.bands, _SMOOTH) * ranges.noise_tilt_db
    lowest, highest = ranges.snr_db
    tilt_db -= highest - weak * rng.uniform(0, highest - lowest, (count, 1))
    begin = rng.integers(0, len(source.noise) - steps, count)[:, None]
    noise = source.noise[begin + np.arange(steps)]
    noise *= (_ratio(tilt_db) * source.levels[clips][:, None])[:, None]
    level = _ratio(weak * rng.uniform(-ranges.level_db, ranges.level_db, (count, 1)))
    x, _ = mel.compress((energy * _ratio(channel_db)[:, None] + noise) * level[:, None])

    for _ in range(ranges.band_masks):
        at = rng.integers(0, mel.bands, count)
        width = np.rint(strength * rng.integers(0, ranges.band_mask_width + 1, count)).astype(int)
        x *= ~_between(mel.bands, at, at + width)[:, None]
    for _ in range(ranges.time_masks):
        at = (rng.uniform(0, 1, count) * frames).astype(np.int64)
        width = np.rint(strength * rng.integers(0, ranges.time_mask_frames + 1, count)).astype(int)
        x *= ~_between(steps, at, at + width)[..., None]
    x *= _between(steps, np.zeros_like(frames), frames)[..., None]
    return x


def _smooth(rng: np.random.Generator, count: int, bands: int, cosines: int) -> Float64:
    """Draw random sums ``[count, bands]`` of slow cosines over the bands."""
    number = np.arange(1, cosines + 1)[:, None]
    basis = np.cos(np.pi * number * (np.arange(bands) + 0.5) / bands) / np.sqrt(number)
    return np.asarray(rng.standard_normal((count, cosines)) @ basis)


def _ratio(db: Float64) -> Float32:
    """Turn decibels into a ratio of powers."""
    return (10 ** (db / 10)).astype(np.float32)


def _between(size: int, begin: Int64, end: Int64) -> NDArray[np.bool_]:
    """Mark ``begin <= i < end`` in each row ``[count, size]``."""
    at = np.arange(size)
    return (at >= begin[:, None]) & (at < end[:, None])
