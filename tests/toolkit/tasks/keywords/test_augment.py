"""Augmentation: what stays in its ranges, what is left when every range is closed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.audio import LogMel
from edgernn.tasks.keywords.augment import Ranges, epoch_batches, spectra

MEL = LogMel()
STILL = LogMel(release=0.0, quietest=0.0)  # Its reference level never moves.
NONE = Ranges(
    vocal_tract=0.0,
    speed=0.0,
    lead_frames=(0, 0),
    tail_frames=(0, 0),
    channel_db=0.0,
    snr_db=(200.0, 200.0),
    noise_tilt_db=0.0,
    level_db=0.0,
    band_masks=0,
    time_masks=0,
)


def noisy_clips(count=12, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1500, 5000, count)
    return [0.1 * rng.standard_normal(size).astype(np.float32) for size in sizes]


CLIPS = noisy_clips()


def one_epoch(ranges, clips=CLIPS, seed=0, batch_size=4, repeats=1, mel=MEL):
    rng = np.random.default_rng(seed)
    source = spectra(clips, mel, ranges)
    return list(epoch_batches(source, mel, ranges, rng, batch_size=batch_size, repeats=repeats))


def test_closed_ranges_leave_the_features_as_they_are():
    seen = 0
    for clips, x, frames in one_epoch(NONE):
        for row, clip in enumerate(clips):
            plain = MEL(CLIPS[clip])
            assert frames[row] == len(plain)
            np.testing.assert_allclose(x[row, : frames[row]], plain, atol=2e-4)
            seen += 1
    assert seen == len(CLIPS)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch_size=st.integers(1, 20),
    repeats=st.integers(1, 3),
    speed=st.floats(0, 0.5),
    lead=st.integers(-5, 20),
)
def test_rows_keep_their_shape_whatever_is_drawn(seed, batch_size, repeats, speed, lead):
    ranges = Ranges(speed=speed, lead_frames=(-5, lead), max_frames=80)
    counts = np.zeros(len(CLIPS), int)
    for clips, x, frames in one_epoch(ranges, seed=seed, batch_size=batch_size, repeats=repeats):
        assert 1 <= len(clips) <= batch_size
        assert x.shape == (len(clips), frames.max(), MEL.bands)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert (frames >= 1).all()
        assert (frames <= 80).all()
        for row, size in enumerate(frames):
            assert not x[row, size:].any()
        longest = (np.array([MEL.frames(len(CLIPS[clip])) for clip in clips])) * np.exp(speed)
        assert (frames <= np.maximum(8, longest + lead + ranges.tail_frames[1] + 1)).all()
        np.add.at(counts, clips, 1)
    assert (counts == repeats).all()


def test_lead_and_tail_move_the_clip():
    shifted = dataclasses.replace(NONE, lead_frames=(5, 5), tail_frames=(7, 7))
    for clips, x, frames in one_epoch(shifted, mel=STILL):
        for row, clip in enumerate(clips):
            plain = STILL(CLIPS[clip])
            assert frames[row] == len(plain) + 12
            np.testing.assert_allclose(x[row, 5 : 5 + len(plain)], plain, atol=2e-3)
            assert x[row, :5].max() < plain.min()


def test_speed_changes_the_length():
    fast = dataclasses.replace(NONE, speed=0.3)
    ratios = [
        frames[row] / MEL.frames(len(CLIPS[clip]))
        for seed in range(20)
        for clips, _, frames in one_epoch(fast, seed=seed)
        for row, clip in enumerate(clips)
    ]
    assert min(ratios) > np.exp(-0.3) * 0.95
    assert max(ratios) < np.exp(0.3) * 1.05
    assert min(ratios) < 0.85
    assert max(ratios) > 1.2


@pytest.mark.parametrize(
    "change",
    [
        {"vocal_tract": 0.2},
        {"channel_db": 6.0},
        {"snr_db": (0.0, 10.0)},
        {"band_masks": 2},
        {"time_masks": 2, "time_mask_frames": 10},
    ],
)
def test_every_perturbation_changes_something(change):
    ranges = dataclasses.replace(NONE, **change)
    for (clips, x, frames), (same, plain, same_frames) in zip(
        one_epoch(ranges, batch_size=12), one_epoch(NONE, batch_size=12), strict=True
    ):
        np.testing.assert_array_equal(np.sort(clips), np.sort(same))
        assert sorted(frames) == sorted(same_frames)
        assert np.abs(x[np.argsort(clips)] - plain[np.argsort(same)]).mean() > 1e-3


def test_masks_are_no_wider_than_stated():
    masked = dataclasses.replace(NONE, band_masks=1, band_mask_width=6)
    widths = set()
    for seed in range(10):
        for _, x, frames in one_epoch(masked, seed=seed):
            widths |= {
                int((row[:size] == 0).all(axis=0).sum())
                for row, size in zip(x, frames, strict=True)
            }
    assert max(widths) == 6
    assert min(widths) == 0


def test_batches_hold_similar_lengths():
    clips = noisy_clips(200, seed=1)
    batches = one_epoch(NONE, clips=clips, batch_size=25)
    padded = sum(x.shape[0] * x.shape[1] for _, x, _ in batches)
    assert padded < 1.15 * sum(int(frames.sum()) for *_, frames in batches)
