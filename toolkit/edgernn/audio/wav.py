"""Read WAV files with the standard library, and change their sample rate."""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError
from edgernn.files import replacing

Float32 = NDArray[np.float32]

_CONVERT = "convert it with: ffmpeg -i IN -acodec pcm_s16le OUT.wav"


def read_wav(path: Path | str) -> tuple[Float32, int]:
    """Read a PCM WAV file of 8, 16, 24 or 32 bits; several channels are averaged.

    Args:
        path: The file.

    Returns:
        Samples ``[N]`` in -1 to 1, and the sample rate in Hz.

    Raises:
        InputError: The file is missing, empty, cut off, or not PCM.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width = file.getnchannels(), file.getsampwidth()
            rate_hz, count = file.getframerate(), file.getnframes()
            data = file.readframes(count)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}; check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (wave.Error, EOFError) as error:
        reason = "it ends inside the header" if isinstance(error, EOFError) else error
        raise InputError(f"{path} is not a PCM WAV file: {reason}; {_CONVERT}") from error
    if rate_hz <= 0:
        raise InputError(f"{path} states a sample rate of {rate_hz} Hz; {_CONVERT}")
    if count == 0:
        raise InputError(f"{path} holds no samples; record it again")
    if len(data) != count * channels * width:
        raise InputError(
            f"{path} is cut off: the header states {count} samples, the file holds "
            f"{len(data) // (channels * width)}; copy it again, or {_CONVERT}"
        )
    samples = _decode(data, width).reshape(-1, channels)
    if channels == 1:
        return samples[:, 0], rate_hz
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32), rate_hz


def write_wav(path: Path | str, samples: NDArray[Any], rate_hz: int) -> None:
    """Write mono 16-bit PCM, in one step.

    Args:
        path: File to write.
        samples: ``[N]`` in -1 to 1; what is beyond is clipped.
        rate_hz: Samples per second.

    Raises:
        OutputError: The file cannot be written.
    """
    steps = np.clip(np.rint(np.asarray(samples) * 32768), -32768, 32767).astype("<i2")
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(steps.tobytes())


def _decode(data: bytes, width: int) -> Float32:
    """Turn little-endian PCM into floats; ``width`` is in bytes, one byte is unsigned."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
    if width == 3:
        # Three bytes into the upper three of an int32, so that the sign is in place.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = wide.tobytes()
    return (np.frombuffer(data, "<i4") / 2.0**31).astype(np.float32)


def resample(samples: NDArray[Any], from_hz: int, to_hz: int) -> Float32:
    """Change the sample rate by the Fourier method; what lies above the new Nyquist is dropped.

    Zeros are appended before the transform, so the ratio is exact and the end does not wrap
    around into the beginning.

    Args:
        samples: ``[N]``.
        from_hz: Rate of the samples.
        to_hz: Wanted rate.

    Returns:
        Samples ``[ceil(N * to_hz / from_hz)]``.

    Raises:
        InputError: The samples are not one row, or a rate is not positive.
    """
    x = np.asarray(samples, np.float32)
    if x.ndim != 1:
        raise InputError(f"resampling needs samples [N], got shape {x.shape}")
    if from_hz < 1 or to_hz < 1:
        raise InputError(f"cannot resample from {from_hz} Hz to {to_hz} Hz: rates must be positive")
    if from_hz == to_hz or x.size == 0:
        return x
    shared = math.gcd(from_hz, to_hz)
    down, up = from_hz // shared, to_hz // shared
    # At least 20 ms of zeros, and a whole number of periods of the ratio.
    blocks = -(-(x.size + from_hz // 50) // down)
    spectrum = np.fft.rfft(x.astype(np.float64), blocks * down)
    spectrum = spectrum[: min(blocks * down, blocks * up) // 2 + 1]
    changed = np.fft.irfft(spectrum, blocks * up) * (up / down)
    return changed[: -(-x.size * up // down)].astype(np.float32)
