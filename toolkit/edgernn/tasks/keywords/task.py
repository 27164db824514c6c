"""The task ``keywords``: which of the ten digits is spoken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import LogMel, write_wav
from edgernn.errors import InputError
from edgernn.npz import read_npz
from edgernn.tasks.base import (
    Arrays,
    DataSource,
    Metric,
    Network,
    Recipe,
    Run,
    Split,
    same_preprocessing,
)
from edgernn.tasks.decisions import decided, mean_logits, named
from edgernn.tasks.keywords.augment import Ranges
from edgernn.tasks.keywords.data import RATE_HZ, WORDS, read_shipped
from edgernn.tasks.keywords.recordings import MEL, ORIGIN, clips_of, read_recording
from edgernn.tasks.keywords.split import KeywordSplit

# The shipped corpus is small: an epoch takes each of its clips this often.
_SHIPPED_REPEATS = 3
_SAMPLE_DIGIT = 7
# A validation of some hundred clips reaches its best value early (epochs 17 to 54 of the runs in
# benchmarks/results/keywords_gru64.json) and cannot show what the late, low learning rates still
# improve. This is the smallest multiple of ten that lets each of those runs come to its end; a run
# with more epochs, or with --patience, may stop before its own.
_PATIENCE = 70


class Keywords:
    """Recognise one spoken digit.

    The network emits logits ``y [B, T, 10]`` for every frame; their mean over time decides, so
    a stream needs one running sum.

    Example:
        >>> task = Keywords()
        >>> task.input_size, task.output_size, task.labels()[7]
        (40, 10, 'seven')
    """

    name = "keywords"
    summary = "spoken digits, 10 classes"
    origin = ORIGIN
    metric = Metric("accuracy", higher_is_better=True)
    network = Network()
    recipe = Recipe(
        epochs=80,
        batch_size=64,
        learning_rate=1e-2,
        weight_decay=1e-2,
        dropout=0.05,
        clip_norm=1.0,
        patience=_PATIENCE,
        label_smoothing=0.1,
        ema_decay=0.995,
    )
    input_size = MEL.bands
    output_size = len(WORDS)
    loss = "cross_entropy_of_mean"
    frame_rate_hz: float | None = MEL.frame_rate_hz

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: the shipped corpus, split by voice. Else the
                Free Spoken Digit Dataset, split as its authors do, or by ``holdout`` speaker.
            preprocessing: Of the model that is to run; None for this task's.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The model has other preprocessing.
            OutputError: The download cannot be stored.
            UsageError: There is no such speaker, or a package is missing.
        """
        same_preprocessing(self.name, preprocessing, self.preprocessing())
        repeats = 1 if source.is_real else _SHIPPED_REPEATS
        return {
            name: KeywordSplit(tuple(part), MEL, Ranges(), repeats)
            for name, part in clips_of(source).items()
        }

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return the parameters of the log-mel features, which no data change."""
        return MEL.to_json()

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the share of clips whose largest mean logit is the right one.

        Args:
            run: Maps ``{"x": [B, T, 40]}`` to ``{"y": [B, T, 10]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not per-frame logits, or the split is empty.
        """
        return decided(run, split, self.name, self.output_size)

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a recording, or an ``.npz`` with features ``x``, into model input.

        Args:
            path: A PCM WAV file of any rate, or a file by ``numpy.savez`` with ``x`` ``[T, F]``
                or ``[1, T, F]``.
            preprocessing: What :meth:`preprocessing` returned when the model was made.

        Returns:
            ``{"x": [1, T, F]}`` float32.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not known.
        """
        if Path(path).suffix.lower() == ".npz":
            bands = LogMel.from_json(preprocessing).bands
            return {"x": _read_features(Path(path), bands)}
        return read_recording(path, preprocessing, "one spoken digit")

    def sample(self, folder: Path) -> Path:
        """Write a test clip of the shipped corpus as ``DIGIT_VOICE.wav``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        clip = next(clip for clip in read_shipped()["test"] if clip.digit == _SAMPLE_DIGIT)
        path = folder / f"{clip.digit}_{clip.speaker}.wav"
        write_wav(path, clip.samples, RATE_HZ)
        return path

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Name the digit and its probability, such as ``seven (0.93)``; rows by commas.

        Raises:
            InputError: The outputs are not per-frame logits.
        """
        return named(mean_logits(outputs, self.name, self.output_size), WORDS)

    def labels(self) -> Sequence[str]:
        """Name the digits, zero first."""
        return WORDS


def _read_features(path: Path, bands: int) -> NDArray[np.float32]:
    """Read ``x`` from an npz file as ``[1, T, bands]``."""
    x = read_npz(path).get("x")
    if x is None:
        raise InputError(f"{path} has no array x; save it by numpy.savez(path, x=x)")
    if x.ndim == 2:
        x = x[None]
    numeric = np.issubdtype(x.dtype, np.floating)
    if not numeric or x.ndim != 3 or x.shape[0] != 1 or x.shape[1] == 0 or x.shape[2] != bands:
        raise InputError(
            f"{path} has x of {x.dtype} {list(x.shape)}; expected floating point [T, {bands}]"
        )
    if not np.isfinite(x).all():
        raise InputError(f"{path} has NaN or infinity in x; check how it was made")
    features: NDArray[np.float32] = x.astype(np.float32)
    return features


TASK = Keywords()
