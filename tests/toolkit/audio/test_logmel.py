"""Log-mel features: their number, their independence of what comes later, their parameters."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.audio import LogMel, LogMelStream
from edgernn.errors import InputError, ModelError


def speech_like(size, seed=0):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32) * 0.1


@settings(max_examples=50, deadline=None)
@given(samples=st.integers(1, 5000), bands=st.integers(1, 64), n_fft=st.sampled_from([200, 256]))
def test_counts_frames_by_the_formula(samples, bands, n_fft):
    mel = LogMel(bands=bands, n_fft=n_fft)
    features = mel(speech_like(samples))
    assert features.shape == (1 + max(0, samples - 200) // 80, bands)
    assert features.shape[0] == mel.frames(samples)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


@settings(max_examples=30, deadline=None)
@given(hops=st.integers(1, 20), seed=st.integers(0, 1000))
def test_silence_before_shifts_the_frames(hops, seed):
    mel = LogMel()
    samples = speech_like(4000, seed)
    late = mel(np.concatenate([np.zeros(hops * mel.hop, np.float32), samples]))
    # Frames that hold the beginning only in part may raise the first reference levels a bit.
    np.testing.assert_allclose(late[hops:], mel(samples), atol=0.1)
    np.testing.assert_allclose(late[hops + 10 :], mel(samples)[10:], atol=0.02)


@settings(max_examples=30, deadline=None)
@given(hops=st.integers(1, 20), seed=st.integers(0, 1000))
def test_a_shift_by_hops_shifts_the_energies(hops, seed):
    mel = LogMel(release=0.0, quietest=100.0)  # The reference level never moves.
    samples = speech_like(4000, seed)
    np.testing.assert_allclose(mel(samples)[hops:], mel(samples[hops * mel.hop :]), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(known=st.integers(200, 4000))
def test_a_frame_does_not_depend_on_what_comes_later(known):
    mel = LogMel()
    samples = speech_like(4000)
    features = mel(samples[:known])
    np.testing.assert_allclose(features, mel(samples)[: len(features)], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 700), max_size=12),
    release=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 1000),
)
def test_a_stream_gives_the_frames_of_the_whole(sizes, release, seed):
    mel = LogMel(release=release)
    fading = np.linspace(1, 0, 200 + sum(sizes)) ** 4
    samples = speech_like(200 + sum(sizes), seed) * fading.astype(np.float32)
    stream = LogMelStream(mel)
    for _ in range(2):
        parts = [stream.push(part) for part in np.split(samples, np.cumsum([200, *sizes])[:-1])]
        np.testing.assert_allclose(np.concatenate(parts), mel(samples), atol=1e-4)
        stream.reset()


def test_a_stream_is_unchanged_by_a_refused_chunk():
    stream = LogMelStream(LogMel())
    samples = speech_like(1000)
    first = stream.push(samples[:300])
    with pytest.raises(InputError, match="NaN"):
        stream.push(np.array([np.nan]))
    both = np.concatenate([first, stream.push(samples[300:])])
    np.testing.assert_allclose(both, LogMel()(samples), atol=1e-5)


def test_a_tone_is_loudest_in_its_band():
    mel = LogMel()
    time_s = np.arange(8000) / 8000
    for hz in (250, 1000, 3000):  # In the middle of a bin of 31.25 Hz.
        loudest = mel(np.sin(2 * np.pi * hz * time_s)).mean(axis=0).argmax()
        assert loudest == mel.filterbank()[round(hz / 31.25)].argmax()


def test_silence_is_a_constant_and_level_makes_no_difference():
    mel = LogMel()
    silence = (np.log(mel.floor) - mel.quietest - mel.offset) * mel.scale
    np.testing.assert_allclose(mel(np.zeros(400, np.float32)), silence, rtol=1e-4)
    np.testing.assert_allclose(mel(speech_like(2000)), mel(10 * speech_like(2000)), atol=0.01)


def test_the_reference_level_rises_at_once_and_falls_slowly():
    mel = LogMel(release=0.1)
    energy = np.full((40, 40), 1e-6, np.float32)
    energy[10] = 1e-3
    _, levels = mel.compress(energy)
    np.testing.assert_allclose(levels[9], np.log(1e-6), atol=1e-2)
    np.testing.assert_allclose(levels[10:15], np.log(1e-3) - 0.1 * np.arange(5), atol=1e-2)
    assert mel.compress(np.zeros((1, 40), np.float32))[1] == mel.quietest


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), release=st.floats(0, 1))
def test_the_reference_level_is_the_stated_recurrence(seed, release):
    mel = LogMel(release=release)
    energy = np.exp(np.random.default_rng(seed).uniform(-25, 0, (30, 40))).astype(np.float32)
    level = np.log((energy + np.float32(mel.floor)).mean(axis=1))
    expected, before = [], mel.quietest
    for frame in level:
        before = max(float(frame), before - release, mel.quietest)
        expected.append(before)
    features, levels = mel.compress(energy)
    np.testing.assert_allclose(levels, expected, atol=1e-4)
    plain = (np.log(energy + mel.floor) - np.array(expected)[:, None] - mel.offset) * mel.scale
    np.testing.assert_allclose(features, plain, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(warp=st.floats(0.7, 1.4))
def test_a_warped_filterbank_has_no_empty_band(warp):
    mel = LogMel()
    bank = mel.filterbank(warp)
    assert bank.shape == (129, 40)
    assert (bank >= 0).all()
    assert (bank.sum(axis=0) > 0.5).all()
    assert not bank.flags.writeable


@settings(max_examples=30, deadline=None)
@given(
    bands=st.integers(1, 80),
    low_hz=st.floats(0, 300),
    high_hz=st.floats(1000, 4000),
    offset=st.floats(-100, 100),
    scale=st.floats(1e-3, 10),
)
def test_json_keeps_every_parameter(bands, low_hz, high_hz, offset, scale):
    mel = LogMel(bands=bands, low_hz=low_hz, high_hz=high_hz, offset=offset, scale=scale)
    assert LogMel.from_json(json.loads(json.dumps(mel.to_json()))) == mel


def test_json_takes_a_whole_number_for_a_float():
    value = {**LogMel().to_json(), "window_ms": 25}
    assert LogMel.from_json(value) == LogMel()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "mfcc"}, "kind"),
        ({"color": 3}, "color"),
        ({"bands": "forty"}, "bands"),
        ({"bands": 40.5}, "bands"),
        ({"bands": True}, "bands"),
        ({"bands": 0}, "bands"),
        ({"window_ms": None}, "window_ms"),
        ({"window_ms": 0.0}, "window"),
        ({"hop_ms": -10.0}, "hop"),
        ({"hop_ms": float("nan")}, "finite"),
        ({"offset": float("inf")}, "finite"),
        ({"offset": 10**400}, "finite"),
        ({"n_fft": 128}, "n_fft"),
        ({"n_fft": 2**40}, "n_fft"),
        ({"high_hz": 5000.0}, "5000"),
        ({"floor": 0.0}, "floor"),
        ({"release": -1.0}, "release"),
        ({"hop_ms": 50.0}, "hop"),
    ],
)
def test_json_refuses_what_has_no_meaning(change, reason):
    with pytest.raises(ModelError, match=reason):
        LogMel.from_json({**LogMel().to_json(), **change})


def test_json_refuses_missing_keys_and_other_types():
    value = LogMel().to_json()
    del value["floor"]
    with pytest.raises(ModelError, match="floor"):
        LogMel.from_json(value)
    with pytest.raises(ModelError, match="kind"):
        LogMel.from_json([1, 2])


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros((2, 300)), np.array([0.0, np.nan]), np.array([np.inf] * 300)]
)
def test_refuses_bad_samples(samples):
    with pytest.raises(InputError, match="samples"):
        LogMel()(samples)


def test_parameters_are_fixed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LogMel().bands = 3
