"""What a training task is: data, preprocessing, metric, and the words for its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Metric:
    """Name one figure of merit.

    Attributes:
        name: Key in JSON results, such as ``"accuracy"``.
        higher_is_better: Direction of improvement.
    """

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Batch:
    """Hold one training batch, padded at the end of the time axis.

    Attributes:
        x: Features ``[B, T, F]`` float32; zero beyond each length.
        lengths: Valid time steps of each row ``[B]`` int64.
        targets: What the loss compares with; for classifiers ``[B]`` int64.
    """

    x: NDArray[np.float32]
    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class DataSource:
    """Say where the data comes from.

    Attributes:
        folder: Folder with the real data set, or None for the data shipped in the package.
        download: Fetch the real data set from its public origin first.
        holdout: Name of the group kept for testing instead of the official split
            (for ``keywords``: a speaker), or None for the official split.
    """

    folder: Path | None = None
    download: bool = False
    holdout: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Hold the training hyperparameters a task recommends.

    Attributes:
        epochs: Upper bound; early stopping may end before it.
        batch_size: Sequences per optimizer step, over all processes.
        learning_rate: Peak of the one-cycle cosine schedule.
        weight_decay: Decoupled (AdamW).
        dropout: Probability on the recurrent layer's input and output.
        clip_norm: Gradient norm limit.
        patience: Epochs without a better validation metric before stopping. They count from the
            first epoch that was as good as the best; of equals the later weights are kept.
        label_smoothing: Probability mass spread over the other classes.
        ema_decay: Decay per step of the averaged weights that are validated and kept; 0 keeps
            the plain weights.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    clip_norm: float
    patience: int
    label_smoothing: float
    ema_decay: float = 0.0


class Split(Protocol):
    """One part of a data set, in memory."""

    def __len__(self) -> int:
        """Count the examples."""
        ...

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield the augmented, shuffled batches of one epoch.

        The same ``(epoch, seed)`` gives the same batches, in whatever order epochs are asked
        for, so that a resumed training sees what an uninterrupted one would have seen.
        """
        ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, as recorded; rows of one batch have equal lengths."""
        ...


class Task(Protocol):
    """A job that a recurrent network is trained for."""

    name: str
    summary: str
    metric: Metric
    recipe: Recipe
    input_size: int
    output_size: int
    loss: str
    frame_rate_hz: float | None

    def splits(self, source: DataSource) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """Return, as JSON, what turns a user's file into the model's input."""
        ...

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the task's metric; ``run`` maps ``{"x": [B, T, F]}`` to ``{"y": ...}``."""
        ...

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a user's file into model input ``{"x": [1, T, F]}``."""
        ...

    def sample(self, folder: Path) -> Path:
        """Write one test recording as a file that `read` takes, and return its path."""
        ...

    def answer(self, outputs: Mapping[str, NDArray[Any]]) -> str:
        """Say in the user's words what the outputs mean."""
        ...

    def labels(self) -> Sequence[str]:
        """Name the output classes."""
        ...
