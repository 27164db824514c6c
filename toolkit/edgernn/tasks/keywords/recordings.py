"""Recordings of spoken digits, for all tasks that use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgernn.audio import LogMel, read_wav, resample
from edgernn.errors import InputError, UsageError
from edgernn.tasks.base import Arrays, DataSource, Origin
from edgernn.tasks.keywords.data import RATE_HZ, Clips, read_fsdd, read_shipped
from edgernn.tasks.keywords.fetch import FSDD, fetch

MEL = LogMel(sample_rate_hz=RATE_HZ)
ORIGIN = Origin("Free Spoken Digit Dataset", "CC BY-SA 4.0", FSDD.url, 21_000_000)
_SHORTEST_HZ, _LONGEST_S = 1000, 60


def clips_of(source: DataSource) -> Clips:
    """Load the clips of ``train``, ``validation`` and ``test``.

    Args:
        source: Without a folder or a download: the shipped corpus, split by voice. Else the Free
            Spoken Digit Dataset, split as its authors do, or by ``holdout`` speaker.

    Raises:
        InputError: The data cannot be read or downloaded.
        OutputError: The download cannot be stored.
        UsageError: There is no such speaker, or a package is missing.
    """
    folder = fetch(source.folder) if source.download else source.folder
    if folder is not None:
        return read_fsdd(folder, source.holdout)
    if source.holdout is not None:
        raise UsageError(
            f'the shipped corpus has no speaker "{source.holdout}" to hold out: its splits '
            "share no voice already; name the real recordings with --data, or --download them"
        )
    return read_shipped()


def read_recording(path: Path, preprocessing: Mapping[str, Any], what: str) -> Arrays:
    """Turn a PCM WAV file of any rate into features ``{"x": [1, T, F]}`` float32.

    Args:
        path: The file.
        preprocessing: Parameters of the features.
        what: What is expected in it, for messages.

    Raises:
        InputError: The file is not what it should be.
        ModelError: The preprocessing is not known.
    """
    mel = LogMel.from_json(preprocessing)
    samples, rate_hz = read_wav(path)
    if rate_hz < _SHORTEST_HZ or len(samples) > _LONGEST_S * rate_hz:
        raise InputError(
            f"{path} has {len(samples)} samples at {rate_hz} Hz; expected {what}, "
            f"at most {_LONGEST_S} s at {_SHORTEST_HZ} Hz or more: cut the recording"
        )
    return {"x": mel(resample(samples, rate_hz, mel.sample_rate_hz))[None]}
