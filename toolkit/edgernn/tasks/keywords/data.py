"""Recordings of spoken digits: the shipped corpus, and the Free Spoken Digit Dataset (FSDD)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import read_wav, resample
from edgernn.errors import InputError, UsageError

Float32 = NDArray[np.float32]

RATE_HZ = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHIPPED = Path(__file__).with_name("digits.npz")

# FSDD's official test set is the indices 0 to 4; validation is ours, taken from its train set.
TEST_INDICES = range(5)
VALIDATION_INDICES = range(5, 7)

_NAME = re.compile(
    r"(?P<digit>[0-9])_(?P<speaker>[A-Za-z][A-Za-z0-9-]*)_(?P<index>[0-9]{1,4})\.wav"
)
_MU = 255.0


@dataclass(frozen=True)
class Clip:
    """Hold one utterance.

    Attributes:
        samples: ``[N]`` in -1 to 1 at 8 kHz.
        digit: What is said, 0 to 9.
        speaker: Who says it.
        index: Number of the take.
    """

    samples: Float32
    digit: int
    speaker: str
    index: int = 0


Clips = Mapping[str, list[Clip]]


def read_shipped(path: Path = SHIPPED) -> Clips:
    """Load the synthesised corpus as ``train``, ``validation`` and ``test``.

    The clips of the last two get noise and silence around them, the same at every call; the
    clips of the first get theirs anew in every epoch.

    Raises:
        InputError: The file is missing or broken, so the installation is.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        ends = np.cumsum(arrays["lengths"])
        audio = mu_law_decode(arrays["audio"])
        pieces = np.split(audio, ends[:-1])
        clips: dict[str, list[Clip]] = {str(name): [] for name in arrays["split_names"]}
        rows = zip(pieces, arrays["digits"], arrays["voices"], arrays["splits"], strict=True)
        for number, (samples, digit, voice, split) in enumerate(rows):
            name = str(arrays["split_names"][split])
            heard = samples if name == "train" else _in_a_room(samples, seed=number)
            clips[name].append(Clip(heard, int(digit), str(arrays["voice_names"][voice])))
    except (OSError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the shipped corpus {path} cannot be read: {error}; install edgernn again"
        ) from error
    return clips


def _in_a_room(samples: Float32, *, seed: int) -> Float32:
    """Put noise around a clean clip, and fill up to a multiple of 100 ms."""
    rng = np.random.default_rng(seed)
    lead = int(rng.integers(0, RATE_HZ // 10))
    total = -(-(lead + len(samples)) // (RATE_HZ // 10)) * (RATE_HZ // 10)
    signal_to_noise_db = rng.uniform(10, 30)
    gain_db = rng.uniform(-15, 0)
    noise = rng.standard_normal(total)
    noise *= np.sqrt(np.mean(samples**2)) * 10 ** (-signal_to_noise_db / 20)
    noise[lead : lead + len(samples)] += samples
    return (noise * 10 ** (gain_db / 20)).clip(-1, 1).astype(np.float32)


def read_fsdd(folder: Path, holdout: str | None = None) -> Clips:
    """Load FSDD as ``train``, ``validation`` and ``test``.

    Args:
        folder: The dataset's repository, or its folder ``recordings``.
        holdout: A speaker whose recordings are all kept for the test, with train and validation
            from all recordings of the others; None for the official split.

    Raises:
        InputError: The folder holds no recordings, or one cannot be read.
        UsageError: There is no such speaker.
    """
    clips = [_read_clip(path, match) for path, match in _recordings(folder)]
    speakers = sorted({clip.speaker for clip in clips})
    if holdout is not None and holdout not in speakers:
        raise UsageError(
            f'no recording in {folder} is by "{holdout}"; the speakers are: {", ".join(speakers)}'
        )
    splits: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for clip in clips:
        test = clip.index in TEST_INDICES if holdout is None else clip.speaker == holdout
        kept = "validation" if clip.index in VALIDATION_INDICES else "train"
        splits["test" if test else kept].append(clip)
    for name, part in splits.items():
        if not part:
            raise InputError(
                f"{folder} has no recordings for the {name} split (test takes the indices 0 to 4, "
                "validation 5 and 6, train the rest); use the complete dataset"
            )
    return splits


def _recordings(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """List the recordings in order of their names."""
    expected = (
        "expected the Free Spoken Digit Dataset: files named DIGIT_SPEAKER_INDEX.wav such as "
        "7_theo_12.wav, in the folder or in its subfolder recordings; --download fetches it"
    )
    inner = folder / "recordings"
    try:
        found = sorted((inner if inner.is_dir() else folder).iterdir())
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}; {expected}") from error
    named = [(path, match) for path in found if (match := _NAME.fullmatch(path.name))]
    if not named:
        raise InputError(f"{folder} holds no recordings; {expected}")
    return named


def _read_clip(path: Path, match: re.Match[str]) -> Clip:
    """Read one recording at the task's rate."""
    samples, rate_hz = read_wav(path)
    return Clip(
        samples=resample(samples, rate_hz, RATE_HZ),
        digit=int(match["digit"]),
        speaker=match["speaker"],
        index=int(match["index"]),
    )


def mu_law_encode(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Compress samples in -1 to 1 to 8 bits, logarithmically."""
    x = np.clip(np.asarray(samples, np.float64), -1, 1)
    curve = np.sign(x) * np.log1p(_MU * np.abs(x)) / np.log1p(_MU)
    codes: NDArray[np.uint8] = np.rint((curve + 1) / 2 * _MU).astype(np.uint8)
    return codes


def mu_law_decode(codes: NDArray[np.uint8]) -> Float32:
    """Invert :func:`mu_law_encode`, up to its quantization."""
    curve = np.arange(256) / _MU * 2 - 1
    table = np.sign(curve) * np.expm1(np.abs(curve) * np.log1p(_MU)) / _MU
    samples: Float32 = table.astype(np.float32)[codes]
    return samples


def speakers(clips: Iterable[Clip]) -> set[str]:
    """Name everyone who speaks in the clips."""
    return {clip.speaker for clip in clips}
