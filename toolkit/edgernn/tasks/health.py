"""The task ``health``: how many cycles an engine has left, from its sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError, ModelError
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
from edgernn.tasks.fetch import RemoteFile, folder_of
from edgernn.tasks.files import read_text
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.scaling import Scale
from edgernn.tasks.splits import SequenceSplit, scale_of
from edgernn.tasks.tables import read_csv, write_csv

Floats = NDArray[np.float64]

KIND = "engine-sensors"
# The sensors of FD001 that change, by their place after unit, cycle and three settings.
_SENSORS = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21)
NAMES = tuple(f"s{number}" for number in _SENSORS)
_COLUMNS = 26
# Wear shows only near the end: earlier than this, the target says no more than "long".
LONGEST = 125
_VALIDATION_EVERY = 7  # engines
_SCORE_BATCH = 50
_COMMIT = "1eb93115db7456f2941c6d6a0f9db6fefdf0120d"
_URL = f"https://raw.githubusercontent.com/hakansirin/senior-project/{_COMMIT}/CMAPSSData"
FD001 = tuple(
    RemoteFile(f"CMAPSSData/{name}_FD001.txt", f"{_URL}/{name}_FD001.txt", sha256)
    for name, sha256 in (
        ("train", "290e220a90c2bb52a799abaf85289fff7b6820829a197a24daaa1eff7a6c3ca8"),
        ("test", "dde0ce7bdf532bee0c59b3544dc420f378def576326c4fe16a84bef90dda954c"),
        ("RUL", "160806da0084d1107676a16043b5a5c243d8c8c73f57a083b5d89dfcfdb9f764"),
    )
)
_GENERATED_ENGINES = 60


@dataclass(frozen=True)
class Engine:
    """Hold the life of one engine, or its beginning.

    Attributes:
        sensors: Of each cycle ``[T, 14]``.
        left: Cycles left after the last one.
    """

    sensors: Floats
    left: int

    @property
    def remaining(self) -> NDArray[np.float32]:
        """Cycles left after each cycle ``[T, 1]``, at most `LONGEST`."""
        count = np.arange(len(self.sensors))[::-1, None] + self.left
        return np.minimum(count, LONGEST).astype(np.float32)


class Health:
    """Estimate the remaining useful life of a turbofan engine after every cycle.

    The network emits ``y [B, T, 1]``: cycles left, as a share of 125. More than 125 cannot be told
    apart, in training and in the metric.

    Example:
        >>> task = Health()
        >>> task.input_size, task.output_size
        (14, 1)
    """

    name = "health"
    summary = "cycles left in an engine, from 14 sensors"
    origin = Origin(
        "CMAPSS FD001", "none stated", "https://data.nasa.gov/dataset/cmapss-jet-engine-simulated-data",
        5_706_000,
    )  # fmt: skip
    metric = Metric("rmse", higher_is_better=False)
    network = Network("sequence", "lstm", 64)
    recipe = Recipe(
        epochs=60,
        batch_size=8,
        learning_rate=3e-3,
        weight_decay=1e-2,
        dropout=0.3,
        clip_norm=1.0,
        patience=20,
        label_smoothing=0.0,
        ema_decay=0.99,
    )
    input_size = len(NAMES)
    output_size = 1
    loss = "squared_error_of_steps"
    frame_rate_hz: float | None = None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: generated engines. Else the folder of
                CMAPSS FD001, whose test engines stop before their end; every seventh engine of
                the training file is kept for validation.
            preprocessing: Means and scales of a model; None for those of the training engines.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The preprocessing is not of this task.
            UsageError: A group was to be held out; there are none.
        """
        folder = folder_of(self.name, source, FD001, "cmapss")
        if folder is None:
            whole, lives = generated(_GENERATED_ENGINES, 0), generated(_GENERATED_ENGINES // 3, 1)
            test = [stopped(engine, number) for number, engine in enumerate(lives)]
        else:
            whole, test = read_fd001(folder)
        kept = [number % _VALIDATION_EVERY == 0 for number in range(len(whole))]
        parts = {
            "train": [engine for engine, held in zip(whole, kept, strict=True) if not held],
            "validation": [
                stopped(engine, number)
                for number, (engine, held) in enumerate(zip(whole, kept, strict=True))
                if held
            ],
            "test": test,
        }
        if preprocessing is None:
            scale = Scale.of(NAMES, np.concatenate([engine.sensors for engine in parts["train"]]))
        else:
            scale = _scale(preprocessing)
        return {name: _split(engines, scale) for name, engines in parts.items()}

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return names, means and scales of the sensors."""
        return {"kind": KIND, "longest": LONGEST, **scale_of(splits).to_json()}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the root mean square error, in cycles, after the last cycle of each engine.

        Args:
            run: Maps ``{"x": [B, T, 14]}`` to ``{"y": [B, T, 1]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not of this task, or the split is empty.
        """
        squares: list[float] = []
        for batch in split.batches(_SCORE_BATCH):
            error = (_shares(run(batch.inputs))[:, -1] - batch.targets[:, -1]) * LONGEST
            squares += np.square(error, dtype=np.float64).reshape(-1).tolist()
        require_examples(len(squares))
        return {"rmse": float(np.sqrt(np.mean(squares)))}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a csv file with one line per cycle into model input.

        Args:
            path: A csv file whose first line names the columns, s2, s3 and so on among them.
            preprocessing: What `preprocessing` returned when the model was made.

        Returns:
            ``{"x": [1, T, 14]}`` float32.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not of this task.
        """
        scale = _scale(preprocessing)
        return {"x": scale.apply(read_csv(Path(path), scale.names))[None]}

    def sample(self, folder: Path) -> Path:
        """Write the sensors of a generated engine as ``engine.csv``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        return write_csv(folder / "engine.csv", NAMES, stopped(generated(1, 1)[0], 0).sensors)

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Say how many cycles are left after the last one; rows by commas.

        Raises:
            InputError: The outputs are not of this task.
        """
        left = np.clip(_shares(outputs)[:, -1, 0], 0, 1) * LONGEST
        return ", ".join(
            f"{LONGEST} cycles left or more"
            if cycles > LONGEST - 1
            else f"{cycles:.0f} cycles left"
            for cycles in left
        )

    def labels(self) -> Sequence[str]:
        """Return no names: the output is a number."""
        return ()


def _split(engines: Sequence[Engine], scale: Scale) -> SequenceSplit:
    return SequenceSplit(
        sequences=[scale.apply(engine.sensors) for engine in engines],
        targets=[engine.remaining / np.float32(LONGEST) for engine in engines],
        scale=scale,
    )


def read_fd001(folder: Path) -> tuple[list[Engine], list[Engine]]:
    """Read the engines that run to their end, and the test engines.

    Raises:
        InputError: A file is missing or not what it should be.
    """
    inner = folder / "CMAPSSData"
    folder = inner if inner.is_dir() else folder
    train, test = (_read_units(folder / f"{name}_FD001.txt") for name in ("train", "test"))
    left = [int(row[0]) for row in _numbers(folder / "RUL_FD001.txt", 1)]
    if len(left) != len(test):
        raise InputError(
            f"{folder}: RUL_FD001.txt has {len(left)} lines for {len(test)} test engines; use the "
            f"complete files"
        )
    engines = [Engine(unit, cycles) for unit, cycles in zip(test, left, strict=True)]
    return [Engine(unit, 0) for unit in train], engines


def _read_units(path: Path) -> list[Floats]:
    rows = np.array(_numbers(path, _COLUMNS))
    places = [4 + number for number in _SENSORS]
    units = rows[:, 0]
    return [rows[units == unit][:, places] for unit in np.unique(units)]


def _numbers(path: Path, columns: int) -> list[list[float]]:
    """Read lines of numbers; a line of names is left out."""
    advice = "name the folder of CMAPSS FD001, or fetch it with --download"
    lines = read_text(path, advice).splitlines()
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        parts = line.split()
        try:
            row = [float(part) for part in parts]
        except ValueError:
            if number == 1:
                continue
            row = []
        if len(row) != columns:
            raise InputError(f"{path}, line {number}: expected {columns} numbers; use the original")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} is empty; use the original")
    return rows


def stopped(engine: Engine, seed: int) -> Engine:
    """Cut the end of a life off, the same for the same seed, as in the test data."""
    total = len(engine.sensors)
    kept = int(np.random.default_rng(seed).integers(total // 3, total + 1))
    return Engine(engine.sensors[:kept], engine.left + total - kept)


def generated(engines: int, seed: int) -> list[Engine]:
    """Make lives of engines whose sensors bend away as wear grows; no real data."""
    rng = np.random.default_rng(seed)
    # What all engines share: where each sensor is, how far wear moves it, how it shakes.
    shared = np.random.default_rng(7)
    level, gain = shared.uniform(100, 1000, len(NAMES)), shared.uniform(-8, 8, len(NAMES))
    noise = shared.uniform(0.5, 2, len(NAMES))
    lives = []
    for _ in range(engines):
        cycles = int(rng.integers(130, 300))
        wear = np.exp((np.arange(cycles) - cycles) / rng.uniform(25, 45))[:, None]
        start = 0.2 * rng.standard_normal(len(NAMES))
        sensors = level + gain * (wear + 0.05 * start)
        sensors = sensors + noise * rng.standard_normal((cycles, len(NAMES)))
        lives.append(Engine(sensors, 0))
    return lives


def _scale(preprocessing: Mapping[str, Any]) -> Scale:
    made = (preprocessing.get("kind"), preprocessing.get("longest"))
    if made != (KIND, LONGEST):
        raise ModelError(
            f"the model's preprocessing has kind and longest {made}, task health has "
            f"{(KIND, LONGEST)}; train and export it again"
        )
    return Scale.read(preprocessing, len(NAMES))


def _shares(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    what = f"cycles left as a share of {LONGEST}"
    return output_of(outputs, "health", ("B", "T", 1), what)


TASK = Health()
