"""The task ``speech``: which digits are spoken, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio import write_wav
from edgernn.tasks.base import (
    PADDING,
    Arrays,
    DataSource,
    Metric,
    Network,
    Recipe,
    Run,
    Split,
    same_preprocessing,
)
from edgernn.tasks.keywords.data import RATE_HZ, WORDS
from edgernn.tasks.keywords.recordings import MEL, ORIGIN, clips_of, read_recording
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.speech.ctc import beam, edits, greedy
from edgernn.tasks.speech.strings import StringSplit

_SCORE_BATCH = 20
_COUNTS = {"train": 1600, "validation": 200, "test": 500}
_SHIPPED_COUNTS = {"train": 480, "validation": 60, "test": 100}  # of few recordings
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
    origin = ORIGIN
    metric = Metric("digit_error_rate", higher_is_better=False)
    network = Network("sequence", "lstm", 128)
    recipe = Recipe(
        epochs=60,
        batch_size=8,
        learning_rate=4e-3,
        weight_decay=1e-2,
        dropout=0.1,
        clip_norm=1.0,
        patience=15,
        label_smoothing=0.0,
        ema_decay=0.99,
    )
    input_size = MEL.bands
    output_size = len(WORDS) + 1
    loss = "ctc"
    frame_rate_hz: float | None = MEL.frame_rate_hz

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
        counts = _COUNTS if source.is_real else _SHIPPED_COUNTS
        return {
            name: StringSplit(tuple(part), MEL, counts[name], number)
            for number, (name, part) in enumerate(clips_of(source).items())
        }

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return the parameters of the log-mel features, which no data change."""
        return MEL.to_json()

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
        require_examples(strings)
        return {"digit_error_rate": wrong / digits, "string_accuracy": right / strings}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a recording, a PCM WAV file of any rate, into ``{"x": [1, T, 40]}`` float32.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not known.
        """
        return read_recording(path, preprocessing, "spoken digits")

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
    shape = ("B", "T", len(WORDS) + 1)
    return output_of(outputs, "speech", shape, "a logit per digit and frame and one of the blank")


TASK = Speech()
