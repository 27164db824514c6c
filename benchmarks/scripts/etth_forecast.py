"""ETTh1, horizon 24: data, a GRU that forecasts, its training and its error.

Seven variables of a power transformer, one row an hour, each scaled by mean and deviation of the
training rows; 8640 rows for training, 2880 for validation, 2880 for testing. From 96 hours the
next 24 of all variables are forecast, as in the Informer paper.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

HOURS, HORIZON, VARIABLES = 96, 24, 7
SPLITS = {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}
BATCH = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Series:
    """Hold the scaled rows ``[14400, 7]`` of ETTh1."""

    rows: Floats

    def windows(self, split: str) -> tuple[Floats, Floats]:
        """Return inputs ``[N, 96, 7]`` and what follows them ``[N, 24, 7]``."""
        first, last = SPLITS[split]
        starts = np.arange(max(0, first - HOURS), last - HOURS - HORIZON + 1)
        whole = self.rows[starts[:, None] + np.arange(HOURS + HORIZON)]
        return whole[:, :HOURS], whole[:, HOURS:]


def read(path: Path) -> Series:
    """Read ``ETTh1.csv``."""
    rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 8), dtype=np.float32)
    rows = rows[: SPLITS["test"][1]]
    known = rows[: SPLITS["train"][1]]
    return Series((rows - known.mean(axis=0)) / known.std(axis=0))


class Forecaster(nn.Module):
    """Map ``[B, T, 7]`` to forecasts at every step, ``[B, T, 24 * 7]``."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(VARIABLES, hidden, batch_first=True)
        self.head = nn.Linear(hidden, HORIZON * VARIABLES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the forecast of each step."""
        hidden, _ = self.rnn(x)
        forecasts: Tensor = self.head(hidden)
        return forecasts


def train(model: nn.Module, series: Series, *, epochs: int, rate: float, seed: int) -> nn.Module:
    """Train on the error of the last step's forecast; keep the epoch that validates best."""
    rng = np.random.default_rng(seed)
    x, wanted = (torch.from_numpy(part) for part in series.windows("train"))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    best, kept = np.inf, copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        for rows in _batches(rng.permutation(len(x))):
            loss = nn.functional.mse_loss(_last(model(x[rows])), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        error = mean_squared_error(lambda x: model(torch.from_numpy(x)).numpy(), series,
                                   "validation")  # fmt: skip
        print(f"epoch {epoch + 1}: validation error {error:.4f}", flush=True)
        if error < best:
            best, kept = error, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model.eval()


@torch.no_grad()
def mean_squared_error(run: Callable[[Floats], Floats], series: Series, split: str) -> float:
    """Return the mean squared error over all windows, hours and variables of a split."""
    x, wanted = series.windows(split)
    errors = [np.square(_last(run(x[rows])) - wanted[rows]) for rows in _batches(np.arange(len(x)))]
    return float(np.concatenate(errors).mean(dtype=np.float64))


def _last(outputs: Any) -> Any:
    return outputs[:, -1].reshape(-1, HORIZON, VARIABLES)


def _batches(order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
