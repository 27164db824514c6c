"""The task ``forecast``: the next day of hourly measurements, for every variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
from edgernn.tasks.files import find_file
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.scaling import Scale
from edgernn.tasks.splits import SeriesSplit, scale_of
from edgernn.tasks.tables import read_csv, read_dates, write_csv

Floats = NDArray[np.float64]

HORIZON = 24
NAMES = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
# The split of the Informer paper (Zhou et al., AAAI 2021): 12, 4 and 4 months of 30 days.
_TRAIN, _VALIDATION, _TEST = (hours * 30 * 24 for hours in (12, 4, 4))
_CONTEXT, _WINDOW = 14 * 24, 14 * 24
_SCORE_BATCH = 16
_COMMIT = "1d16c8f4f943005d613b5bc962e9eeb06058cf07"
ETTH1 = RemoteFile(
    "ETT-small/ETTh1.csv",
    f"https://raw.githubusercontent.com/zhouhaoyi/ETDataset/{_COMMIT}/ETT-small/ETTh1.csv",
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
)
_GENERATED_HOURS = 3000
_SAMPLE_HOURS = 14 * 24


class Forecast:
    """Forecast the next 24 hours of seven variables, from all hours so far.

    At every hour the network takes the last 24 hours side by side, ``x [B, T, 24 * 7]``, and emits
    the 24 that follow, ``y [B, T, 24 * 7]``, all in standard deviations from the means of the
    training data. What is older is in the state.

    Example:
        >>> task = Forecast()
        >>> task.input_size, task.output_size
        (168, 168)
    """

    name = "forecast"
    kind = "last-period"
    summary = "the next 24 hours of 7 variables"
    origin = Origin("ETTh1", "CC BY-ND 4.0", "https://github.com/zhouhaoyi/ETDataset", 2_589_657)
    metric = Metric("mse", higher_is_better=False)
    network = Network("forecast", "gru", 128)
    recipe = Recipe(
        epochs=30,
        batch_size=16,
        learning_rate=2e-3,
        weight_decay=1e-2,
        dropout=0.2,
        clip_norm=1.0,
        patience=10,
        label_smoothing=0.0,
        ema_decay=0.99,
    )
    input_size = HORIZON * len(NAMES)
    output_size = HORIZON * len(NAMES)
    loss = "squared_error_of_steps"
    frame_rate_hz: float | None = 1 / 3600

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: a generated series with a day, a week and a
                wandering level. Else the folder of ``ETTh1.csv``, split as in the Informer paper.
            preprocessing: Means and scales of a model; None for those of the training part.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The preprocessing is not of this task.
            UsageError: A group was to be held out; there are none.
        """
        folder = folder_of(self.name, source, [ETTH1], "etth")
        known: Floats | None
        if folder is None:
            values, known = generated(_GENERATED_HOURS), self.known_of(_dates(_GENERATED_HOURS))
            ends = [2000, 2400, 2800]
        else:
            names = (Path(ETTH1.name).name, ETTH1.name)
            advice = f"name its folder, or a csv file with the columns {', '.join(NAMES)}, or fetch"
            found = find_file(folder, names, f"{advice} it with --download")
            values, known = read_csv(found, NAMES), self._known_in(found)
            ends = [_TRAIN, _TRAIN + _VALIDATION, _TRAIN + _VALIDATION + _TEST]
            if len(values) < ends[-1]:
                raise InputError(
                    f"{folder} has {len(values)} hours; the split needs {ends[-1]}: use the "
                    f"complete file"
                )
        scale = self._scale(preprocessing) if preprocessing else Scale.of(NAMES, values[: ends[0]])
        scaled = scale.apply(values)
        inputs, targets = _beside(preceding(scaled), known), following(scaled)
        begins = [HORIZON, *ends[:-1]]
        parts = {}
        for name, begin, end in zip(("train", "validation", "test"), begins, ends, strict=True):
            # All hours of a forecast lie in its part, and all hours read lie before them.
            context = min(_CONTEXT, begin - HORIZON)
            rows = slice(begin - 1 - context, end - HORIZON)
            parts[name] = SeriesSplit(
                inputs[rows], targets[rows], context, _WINDOW, HORIZON, _WINDOW, scale
            )
        return parts

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return names, means and scales of the variables."""
        return {"kind": self.kind, "horizon": HORIZON, **scale_of(splits).to_json()}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the mean squared and absolute error over all hours, variables and distances.

        Args:
            run: Maps ``{"x": [B, T, 168]}`` to ``{"y": [B, T, 168]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not forecasts, or the split is empty.
        """
        squared = absolute = 0.0
        count = 0
        for batch in split.batches(_SCORE_BATCH):
            steps = batch.targets.shape[1]
            error = self._forecasts(run(batch.inputs))[:, -steps:] - batch.targets
            squared += float(np.square(error, dtype=np.float64).sum())
            absolute += float(np.abs(error).sum(dtype=np.float64))
            count += error.size
        require_examples(count)
        return {"mse": squared / count, "mae": absolute / count}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a csv file into model input.

        Args:
            path: A csv file with a line of names; a column that is no variable is left out.
            preprocessing: What `preprocessing` returned when the model was made.

        Returns:
            ``{"x": [1, T, 168]}`` float32.

        Raises:
            InputError: The file is not what it should be.
            ModelError: The preprocessing is not of this task.
        """
        scale = self._scale(preprocessing)
        scaled = scale.apply(read_csv(Path(path), scale.names))
        if len(scaled) < HORIZON:
            raise InputError(
                f"{path} has {len(scaled)} hours; the model takes {HORIZON} at a time: give more"
            )
        inputs = _beside(preceding(scaled), self._known_in(Path(path)))
        return {"x": inputs[HORIZON - 1 :][None]}

    def sample(self, folder: Path) -> Path:
        """Write two generated weeks as ``measurements.csv``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        rows = generated(_GENERATED_HOURS)[-_SAMPLE_HOURS:]
        dates = _dates(_GENERATED_HOURS)[-_SAMPLE_HOURS:]
        return write_csv(folder / "measurements.csv", NAMES, rows, dates)

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Draw the 24 hours after the last one, a line for each variable, in its own unit.

        Raises:
            InputError: The outputs are not forecasts.
            ModelError: The preprocessing is not of this task.
        """
        scale = self._scale(preprocessing)
        hours = self._forecasts(outputs)[-1, -1].reshape(HORIZON, len(NAMES))
        values = scale.undo(hours)
        width = max(map(len, scale.names))
        lines = [
            f"{name:{width}} {_drawn(column)} {column.min():.2f} to {column.max():.2f}, "
            f"next hour {column[0]:.2f}"
            for name, column in zip(scale.names, values.T, strict=True)
        ]
        return "\n".join([f"the next {HORIZON} hours", *lines])

    def labels(self) -> Sequence[str]:
        """Return no names: the outputs are numbers."""
        return ()

    def known_of(self, dates: Sequence[datetime]) -> Floats | None:
        """Return the covariates of each hour ``[N, C]``; here there are none."""
        return None

    def _forecasts(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        shape = ("B", "T", HORIZON * len(NAMES))
        what = f"{HORIZON} hours of {len(NAMES)} variables"
        return output_of(outputs, self.name, shape, what)

    def _known_in(self, path: Path) -> Floats | None:
        return self.known_of(read_dates(path)) if self.input_size > self.output_size else None

    def _scale(self, preprocessing: Mapping[str, Any]) -> Scale:
        made = (preprocessing.get("kind"), preprocessing.get("horizon"))
        if made != (self.kind, HORIZON):
            raise ModelError(
                f"the model's preprocessing has kind and horizon {made}, task {self.name} has "
                f"{(self.kind, HORIZON)}; train and export it again"
            )
        return Scale.read(preprocessing, len(NAMES))


class CalendarForecast(Forecast):
    """Forecast with covariates: where in the day and the week the present hour is.

    The network takes sine and cosine of both behind the last 24 hours, ``x [B, T, 24 * 7 + 4]``.

    Example:
        >>> CalendarForecast().input_size
        172
    """

    name = "forecast-calendar"
    summary = "forecast, with the hour of the day and the week as covariates"
    kind = "last-period-and-calendar"
    input_size = HORIZON * len(NAMES) + 4

    def known_of(self, dates: Sequence[datetime]) -> Floats:
        """Return sine and cosine of the hour in the day and in the week ``[N, 4]``."""
        hours = np.array([24 * date.weekday() + date.hour + date.minute / 60 for date in dates])
        turns = 2 * np.pi * hours[:, None] / [24, 24 * 7]
        return np.concatenate([np.sin(turns), np.cos(turns)], axis=1)


def _beside(inputs: NDArray[np.float32], known: Floats | None) -> NDArray[np.float32]:
    """Put covariates behind the hours ``[N, 24 * F + C]``."""
    if known is None:
        return inputs
    return np.concatenate([inputs, known.astype(np.float32)], axis=1)


def _dates(hours: int) -> list[datetime]:
    """Give generated hours dates, from the start of 2016, a Friday."""
    return [datetime(2016, 1, 1) + timedelta(hours=hour) for hour in range(hours)]


def following(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the next 24 rows of each row side by side ``[N, 24 * F]``; zeros beyond the end."""
    beyond = np.zeros((HORIZON, values.shape[1]), np.float32)
    longer = np.concatenate([values[1:], beyond])
    rows = [longer[ahead : ahead + len(values)] for ahead in range(HORIZON)]
    return np.concatenate(rows, axis=1)


def preceding(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each row with the 23 before it, oldest first ``[N, 24 * F]``; zeros at the start."""
    before = np.zeros((HORIZON - 1, values.shape[1]), np.float32)
    longer = np.concatenate([before, values])
    rows = [longer[ahead : ahead + len(values)] for ahead in range(HORIZON)]
    return np.concatenate(rows, axis=1)


def generated(hours: int) -> Floats:
    """Make a series like the real one: a day, a week, a wandering level, noise; no real data."""
    rng = np.random.default_rng(0)
    time = np.arange(hours)[:, None]
    count = len(NAMES)
    day = rng.uniform(1, 4, count) * np.sin(2 * np.pi * (time / 24 + rng.uniform(0, 1, count)))
    week = rng.uniform(0.3, 1, count) * np.sin(2 * np.pi * (time / 168 + rng.uniform(0, 1, count)))
    level, shocks = np.zeros((hours, count)), 0.2 * rng.standard_normal((hours, count))
    for hour in range(1, hours):
        level[hour] = 0.99 * level[hour - 1] + shocks[hour]
    noise = 0.3 * rng.standard_normal((hours, count))
    series: Floats = rng.uniform(2, 20, count) + day + week + level + noise
    return series


def _drawn(values: Floats) -> str:
    """Draw numbers as bars of text."""
    bars = "▁▂▃▄▅▆▇█"
    low, high = values.min(), values.max()
    places = (values - low) / max(high - low, 1e-12) * (len(bars) - 1)
    return "".join(bars[int(place)] for place in places.round())


TASK, CALENDAR = Forecast(), CalendarForecast()
