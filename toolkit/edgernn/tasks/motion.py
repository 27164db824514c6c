"""The tasks ``motion`` and ``vowels``: short sequences of a few channels, one class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError
from edgernn.tasks.base import (
    Arrays,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
)
from edgernn.tasks.decisions import decided, mean_logits, named
from edgernn.tasks.fetch import RemoteFile, folder_of
from edgernn.tasks.files import find_file, read_text
from edgernn.tasks.scaling import Scale
from edgernn.tasks.splits import SequenceSplit, scale_of
from edgernn.tasks.tables import read_csv, write_csv

Floats = NDArray[np.float64]
Examples = list[tuple[Floats, int]]

_VALIDATION_EVERY = 5
_GENERATED = 12  # examples of each class
_COMMIT = "a101ddc8b35a65441609b45c9bcce5aeafa0c131"
_URL = f"https://raw.githubusercontent.com/aeon-toolkit/aeon/{_COMMIT}/aeon/datasets/data"


@dataclass(frozen=True)
class SmallClassifier:
    """Tell which class a sequence of a few channels belongs to.

    The network emits logits ``y [B, T, O]`` for every step; their mean over time decides.

    Attributes:
        name: Of the task.
        summary: In a few words.
        archive: Name of the data set in the archive of time series.
        channels: Names of the channels.
        classes: As in the data set.
        origin: Where the data comes from.
        files: Training and test file.
        steps: Shortest and longest generated example.
        frame_rate_hz: Steps per second.
        metric: What is measured.
        network: Recommended network.
        recipe: Recommended training.
        loss: Of training.
    """

    name: str
    summary: str
    archive: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    origin: Origin
    files: tuple[RemoteFile, ...]
    steps: tuple[int, int]
    frame_rate_hz: float | None
    metric: Metric
    network: Network
    recipe: Recipe
    loss: str = "cross_entropy_of_mean"

    @property
    def input_size(self) -> int:
        """Channels."""
        return len(self.channels)

    @property
    def output_size(self) -> int:
        """Classes."""
        return len(self.classes)

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: generated sequences. Else the folder of the
                ``.ts`` files; every fifth training example is kept for validation.
            preprocessing: Means and scales of a model; None for those of the training part.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The preprocessing is not of this task.
            UsageError: A group was to be held out; there are none.
        """
        folder = folder_of(self.name, source, self.files, "timeseries")
        if folder is None:
            whole, test = self.generated(0), self.generated(1)
        else:
            whole, test = (self._read(folder, part) for part in ("TRAIN", "TEST"))
        parts = {
            "train": [item for place, item in enumerate(whole) if place % _VALIDATION_EVERY],
            "validation": whole[::_VALIDATION_EVERY],
            "test": test,
        }
        if preprocessing is None:
            scale = Scale.of(self.channels, np.concatenate([x for x, _ in parts["train"]]))
        else:
            scale = Scale.read(preprocessing, self.input_size)
        return {name: _split(part, scale) for name, part in parts.items()}

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return names, means and scales of the channels."""
        return {"kind": "standardized", **scale_of(splits).to_json()}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the share of sequences whose largest mean logit is the right one.

        Raises:
            InputError: The outputs are not per-step logits, or the split is empty.
        """
        return decided(run, split, self.name, self.output_size)

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a csv file, whose first line names the channels, into ``{"x": [1, T, F]}``.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not of this task.
        """
        scale = Scale.read(preprocessing, self.input_size)
        return {"x": scale.apply(read_csv(Path(path), scale.names))[None]}

    def sample(self, folder: Path) -> Path:
        """Write a generated test sequence as ``NAME.csv``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        return write_csv(folder / f"{self.name}.csv", self.channels, self.generated(1)[0][0])

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Name the class and its probability, such as ``Walking (0.93)``; rows by commas.

        Raises:
            InputError: The outputs are not per-step logits.
        """
        return named(mean_logits(outputs, self.name, self.output_size), self.classes)

    def labels(self) -> Sequence[str]:
        """Name the classes."""
        return self.classes

    def generated(self, seed: int) -> Examples:
        """Make sequences, each class with its own rhythm in each channel; no real data."""
        shared = np.random.default_rng(len(self.classes))
        shape = (len(self.classes), self.input_size)
        speed, gain = shared.uniform(0.05, 0.9, shape), shared.uniform(0.3, 2, shape)
        rng = np.random.default_rng((seed, len(self.classes)))
        examples = []
        for number in range(_GENERATED * len(self.classes)):
            kind = number % len(self.classes)
            time = np.arange(int(rng.integers(self.steps[0], self.steps[1] + 1)))[:, None]
            phase = rng.uniform(0, 2 * np.pi, self.input_size)
            x = gain[kind] * np.sin(speed[kind] * rng.uniform(0.9, 1.1) * time + phase)
            examples.append((x + 0.2 * rng.standard_normal(x.shape), kind))
        return examples

    def _read(self, folder: Path, part: str) -> Examples:
        name = f"{self.archive}_{part}.ts"
        advice = "name the folder of the data set, or fetch it with --download"
        path = find_file(folder, (f"{self.archive}/{name}", name), advice)
        return read_ts(path, self.input_size, self.classes)


def _split(examples: Examples, scale: Scale) -> SequenceSplit:
    return SequenceSplit(
        sequences=[scale.apply(x) for x, _ in examples],
        targets=[np.array(kind, np.int64) for _, kind in examples],
        scale=scale,
    )


def read_ts(path: Path, channels: int, classes: Sequence[str]) -> Examples:
    """Read the ``.ts`` format: channels by colons, steps by commas, the class last.

    Raises:
        InputError: The file is not of this format, or of other channels or classes.
    """
    examples = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line[0] in "#@":
            continue
        *rows, kind = line.strip().split(":")
        try:
            x = np.array([[float(value) for value in row.split(",")] for row in rows]).T
        except ValueError:
            x = np.zeros((0, 0))
        if x.shape[1:] != (channels,) or not np.isfinite(x).all() or kind not in classes:
            raise InputError(
                f"{path}, line {number}: expected {channels} channels of one length and a class "
                f"of {', '.join(classes)}; use the original file"
            )
        examples.append((x, classes.index(kind)))
    if not examples:
        raise InputError(f"{path} has no sequences; use the original file")
    return examples


def _files(archive: str, train: str, test: str) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(f"{archive}/{archive}_{part}.ts", f"{_URL}/{archive}/{archive}_{part}.ts", sha)
        for part, sha in (("TRAIN", train), ("TEST", test))
    )


_RECIPE = Recipe(
    epochs=150,
    batch_size=16,
    learning_rate=5e-3,
    weight_decay=1e-2,
    dropout=0.2,
    clip_norm=1.0,
    patience=60,
    label_smoothing=0.1,
    ema_decay=0.98,
)
MOTION = SmallClassifier(
    name="motion",
    summary="what the wearer of a smart watch does, 4 classes",
    archive="BasicMotions",
    channels=("ax", "ay", "az", "gx", "gy", "gz"),
    classes=("Standing", "Running", "Walking", "Badminton"),
    origin=Origin(
        "BasicMotions", "research data", "https://www.timeseriesclassification.com", 455_000
    ),
    files=_files(
        "BasicMotions",
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    steps=(100, 100),
    frame_rate_hz=10.0,
    metric=Metric("accuracy", higher_is_better=True),
    network=Network("sequence", "gru", 32),
    recipe=_RECIPE,
)
VOWELS = SmallClassifier(
    name="vowels",
    summary="who says a vowel, 9 speakers",
    archive="JapaneseVowels",
    channels=tuple(f"c{number}" for number in range(1, 13)),
    classes=tuple(str(number) for number in range(1, 10)),
    origin=Origin(
        "JapaneseVowels", "research data", "https://www.timeseriesclassification.com", 1_137_000
    ),
    files=_files(
        "JapaneseVowels",
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
    steps=(7, 29),
    frame_rate_hz=None,
    metric=Metric("accuracy", higher_is_better=True),
    network=Network("sequence", "gru", 32),
    recipe=_RECIPE,
)
