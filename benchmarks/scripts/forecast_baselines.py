"""What simple rules reach on the test hours of the task `forecast`, to compare its networks with.

python benchmarks/scripts/forecast_baselines.py --data ETT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgernn.tasks.base import DataSource
from edgernn.tasks.forecast import HORIZON, NAMES, TASK, following
from edgernn.tasks.splits import SeriesSplit

HOURS = (24, 96, 336)
RIDGE = 10.0


def whole(split: SeriesSplit) -> np.ndarray:
    """Return the hours of a part with those before it ``[N, 7]``, in standard deviations."""
    return split.inputs[:, -len(NAMES) :].astype(np.float64)


def linear(train: np.ndarray, test: np.ndarray, rows: np.ndarray, hours: int) -> np.ndarray:
    """Forecast each variable from its own last hours, as far as they are from the present one."""
    forecasts = np.empty((len(rows), HORIZON, len(NAMES)))
    steps = np.arange(hours, len(train) - HORIZON)
    for variable in range(len(NAMES)):
        series, other = train[:, variable], test[:, variable]
        x = series[steps[:, None] + np.arange(1 - hours, 1)] - series[steps, None]
        y = series[steps[:, None] + np.arange(1, HORIZON + 1)] - series[steps, None]
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(hours), x.T @ y)
        z = other[rows[:, None] + np.arange(1 - hours, 1)] - other[rows, None]
        forecasts[:, :, variable] = z @ weights + other[rows, None]
    return forecasts.reshape(len(rows), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with ETTh1.csv")
    splits = TASK.splits(DataSource(folder=parser.parse_args().data))
    train, test = splits["train"], splits["test"]
    assert isinstance(train, SeriesSplit)
    assert isinstance(test, SeriesSplit)
    hours, seen = whole(test), whole(train)
    rows = np.arange(test.context, len(hours) - HORIZON)
    wanted = following(hours.astype(np.float32))[rows]
    guesses = {
        "the last hour": np.tile(hours[rows], (1, HORIZON)),
        "the last day": np.concatenate([hours[rows - 23 + k] for k in range(HORIZON)], axis=1),
    }
    for count in HOURS:
        guesses[f"linear, {count} hours"] = linear(seen, hours, rows, count)
    for name, guess in guesses.items():
        print(f"{name:20} mse {np.square(guess - wanted).mean():.3f}")


if __name__ == "__main__":
    main()
