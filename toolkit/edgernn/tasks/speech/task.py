"""The task ``speech``: which digits are spoken, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import LogMel, read_wav, resample, write_wav
from edgernn.errors import InputError, UsageError
from edgernn.tasks.base import (
    PADDING,
    Arrays,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
    same_preprocessing,
)
from edgernn.tasks.keywords.data import RATE_HZ, WORDS, read_fsdd, read_shipped
from edgernn.tasks.keywords.fetch import FSDD, fetch
from edgernn.tasks.speech.ctc import beam, edits, greedy
from edgernn.tasks.speech.strings import StringSplit

_MEL = LogMel(sample_rate_hz=RATE_HZ)
_SCORE_BATCH = 20
_COUNTS = {"train": 800, "validation": 200, "test": 500}
_SHIPPED_COUNTS = {"train": 240, "validation": 60, "test": 100}  # of few recordings
_SHORTEST_HZ, _LONGEST_S = 1000, 60
_BEAM = 8
_SAMPLE = 5  # a string of six digits


class Speech:
    """Write down a string of spoken digits.

    The network emits logits ``y [B, T, 11]`` for every frame, of the digits and of the blank that
    CTC puts between them.

    Example:
        >>> task = Speech()
        >>> task.input_size, task.output_size
        (40, 11)
    """

    name = "speech"
    summary = "strings of 1 to 7 spoken digits"
    origin = Origin("Free Spoken Digit Dataset", "CC BY-SA 4.0", FSDD.url, 21_000_000)
    metric = Metric("digit_error_rate", higher_is_better=False)
    network = Network("sequence", "gru", 128)
    recipe = Recipe(
        epochs=40,
        batch_size=16,
        learning_rate=4e-3,
        weight_decay=1e-2,
        dropout=0.1,
        clip_norm=1.0,
        patience=15,
        label_smoothing=0.0,
        ema_decay=0.99,
    )
    input_size = _MEL.bands
    output_size = len(WORDS) + 1
    loss = "ctc"
    frame_rate_hz: float | None = _MEL.frame_rate_hz

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``: strings of recordings of that split alone.

        Args:
            source: Without a folder or a download: strings of the shipped corpus. Else of the
                Free Spoken Digit Dataset, split as its authors do, or by ``holdout`` speaker.
            preprocessing: Of the model that is to run; None for this task's.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The model has other preprocessing.
            OutputError: The download cannot be stored.
            UsageError: There is no such speaker, or a package is missing.
        """
        same_preprocessing(self.name, preprocessing, self.preprocessing())
        folder = fetch(source.folder) if source.download else source.folder
        if folder is None and source.holdout is not None:
            raise UsageError(
                "the splits of the shipped corpus share no voice already; name the real "
                "recordings with --data, or --download them"
            )
        clips = read_shipped() if folder is None else read_fsdd(folder, source.holdout)
        counts = _SHIPPED_COUNTS if folder is None else _COUNTS
        return {
            name: StringSplit(tuple(part), _MEL, counts[name], number)
            for number, (name, part) in enumerate(clips.items())
        }

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return the parameters of the log-mel features, which no data change."""
        return _MEL.to_json()

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure wrong, missing and added digits per spoken digit, and strings all right.

        Args:
            run: Maps ``{"x": [B, T, 40]}`` to ``{"y": [B, T, 11]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not per-frame logits, or the split is empty.
        """
        wrong = digits = right = strings = 0
        for batch in split.batches(_SCORE_BATCH):
            for logits, target in zip(_logits(run(batch.inputs)), batch.targets, strict=True):
                said = tuple(int(digit) for digit in target[target != PADDING])
                errors = edits(said, greedy(logits))
                wrong, digits = wrong + errors, digits + len(said)
                right, strings = right + (errors == 0), strings + 1
        if strings == 0:
            raise InputError("there is nothing to measure on: the split is empty")
        return {"digit_error_rate": wrong / digits, "string_accuracy": right / strings}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a recording, a PCM WAV file of any rate, into ``{"x": [1, T, 40]}`` float32.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not known.
        """
        mel = LogMel.from_json(preprocessing)
        samples, rate_hz = read_wav(path)
        if rate_hz < _SHORTEST_HZ or len(samples) > _LONGEST_S * rate_hz:
            raise InputError(
                f"{path} has {len(samples)} samples at {rate_hz} Hz; expected spoken digits, at "
                f"most {_LONGEST_S} s at {_SHORTEST_HZ} Hz or more: cut the recording"
            )
        return {"x": mel(resample(samples, rate_hz, mel.sample_rate_hz))[None]}

    def sample(self, folder: Path) -> Path:
        """Write a test string of the shipped corpus as ``DIGITS.wav``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        test = self.splits(DataSource())["test"]
        assert isinstance(test, StringSplit)
        samples, digits = test.audio(np.random.default_rng(_SAMPLE), changed=False)
        path = folder / f"{''.join(str(digit) for digit in digits)}.wav"
        write_wav(path, samples, RATE_HZ)
        return path

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Write the digits down, found with a beam of 8; rows by commas.

        Raises:
            InputError: The outputs are not per-frame logits.
        """
        found = [beam(logits, _BEAM) for logits in _logits(outputs)]
        return ", ".join(" ".join(WORDS[digit] for digit in row) or "(silence)" for row in found)

    def labels(self) -> Sequence[str]:
        """Name the digits, zero first, and the blank."""
        return (*WORDS, "blank")


def _logits(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    y, size = outputs.get("y"), len(WORDS) + 1
    if y is None or y.ndim != 3 or y.shape[2] != size or y.shape[1] == 0:
        given = "no y" if y is None else f"shape {list(y.shape)}"
        raise InputError(
            f"speech needs the output y [B, T, {size}], a logit per digit and frame and one of the "
            f"blank; got {given}; use a model that was trained for speech"
        )
    return y


TASK = Speech()
