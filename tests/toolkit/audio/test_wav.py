"""Reading WAV files of every width, refusing what is none, and changing the rate."""

import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.audio import read_wav, resample
from edgernn.errors import InputError


def write_wav(path, codes, width, rate_hz=8000):
    """Write codes ``[N, channels]``, signed, of a width in bytes."""
    unsigned = codes + 128 if width == 1 else codes
    data = b"".join(
        int(code).to_bytes(width, "little", signed=width > 1) for code in unsigned.reshape(-1)
    )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(codes.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(data)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 4),
    channels=st.integers(1, 3),
    size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_reads_back_what_was_written(tmp_path_factory, width, channels, size, seed):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    top = 2 ** (8 * width - 1)
    codes = np.random.default_rng(seed).integers(-top, top, (size, channels))
    write_wav(path, codes, width, rate_hz=11025)
    samples, rate_hz = read_wav(path)
    assert rate_hz == 11025
    assert samples.dtype == np.float32
    assert samples.shape == (size,)
    np.testing.assert_allclose(samples, codes.mean(axis=1) / top, atol=1e-6)


def test_extremes_of_sixteen_bits(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([[-32768], [32767], [0]]), 2)
    samples, _ = read_wav(tmp_path / "a.wav")
    assert samples.tolist() == [-1.0, 32767 / 32768, 0.0]


def float_wav():
    """Build a WAV file of 32-bit floats."""
    body = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 3, 1, 8000, 32000, 4, 32, b"data", 4) + bytes(
        4
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends inside the header"),
        (b"RIFF\x04\x00\x00\x00WAVE", "not a PCM WAV"),
        (b"hello, this is no audio at all", "not a PCM WAV"),
        (float_wav(), "unknown format: 3"),
    ],
)
def test_refuses_what_is_no_pcm(tmp_path, content, reason):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_wav(path)
    assert "ffmpeg" in str(caught.value)


@pytest.mark.parametrize("kept", [46, 70, 100])
def test_refuses_a_cut_file(tmp_path, kept):
    path = tmp_path / "a.wav"
    write_wav(path, np.zeros((100, 1), int), 2)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cut off|header"):
        read_wav(path)


def test_refuses_no_samples(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros((0, 1), int), 2)
    with pytest.raises(InputError, match="no samples"):
        read_wav(tmp_path / "a.wav")


def test_refuses_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(InputError, match="cannot read"):
        read_wav(tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    from_hz=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    to_hz=st.sampled_from([8000, 11025, 16000]),
    size=st.integers(0, 4000),
)
def test_resampling_changes_the_length_by_the_ratio(from_hz, to_hz, size):
    samples = resample(np.ones(size, np.float32), from_hz, to_hz)
    assert samples.dtype == np.float32
    assert len(samples) == -(-size * to_hz // from_hz)


@settings(max_examples=40, deadline=None)
@given(
    from_hz=st.sampled_from([8000, 16000, 22050, 44100]),
    to_hz=st.sampled_from([8000, 11025, 16000, 48000]),
    tone_hz=st.floats(50, 3000),
)
def test_resampling_keeps_a_tone(from_hz, to_hz, tone_hz):
    def tone(rate_hz):
        time_s = np.arange(rate_hz // 2) / rate_hz
        # A smooth beginning and end, so that the tone has no other frequencies.
        return np.sin(2 * np.pi * tone_hz * time_s) * np.sin(2 * np.pi * time_s) ** 2

    changed = resample(tone(from_hz), from_hz, to_hz)
    wanted = tone(to_hz)
    size = min(len(changed), len(wanted))
    np.testing.assert_allclose(changed[:size], wanted[:size], atol=2e-4)


def test_resampling_removes_what_would_alias():
    time_s = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 6000 * time_s) * np.sin(np.pi * time_s) ** 2
    assert np.abs(resample(tone, 16000, 8000)).max() < 1e-3


def test_resampling_refuses_nonsense():
    with pytest.raises(InputError, match="shape"):
        resample(np.zeros((2, 3)), 8000, 16000)
    with pytest.raises(InputError, match="positive"):
        resample(np.zeros(3), 0, 16000)
