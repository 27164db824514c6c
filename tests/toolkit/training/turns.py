"""A small task, trained in about a second: say how fast and in which direction a point circles.

Also a program, so that tests can kill it or launch it in several processes:

    python turns.py FOLDER JSON-OBJECT
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.tasks.base import (
    Arrays,
    Batch,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
)

SPEEDS = np.array([-1.2, -0.4, 0.4, 1.2])
RECIPE = Recipe(
    epochs=6, batch_size=25, learning_rate=0.02, weight_decay=0.01, dropout=0.1, clip_norm=1.0,
    patience=6, label_smoothing=0.05,
)  # fmt: skip


def draw(rng: np.random.Generator, classes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return circling points ``[B, T, 2]`` with noise, zero beyond each length."""
    time_steps = np.arange(lengths.max())
    phase = rng.uniform(0, 2 * np.pi, len(classes))[:, None] + SPEEDS[classes][:, None] * time_steps
    x = np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    x += 0.05 * rng.standard_normal(x.shape)
    return np.where(time_steps[None, :, None] < lengths[:, None, None], x, 0.0).astype(np.float32)


@dataclass(frozen=True)
class TurnsSplit:
    size: int
    seed: int
    poison: str = ""
    pause_s: float = 0.0
    repeats: int = 1
    gain: float = 1.0

    def __len__(self) -> int:
        return self.size

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, seed, epoch))
        count = self.size * self.repeats
        for begin in range(0, count, batch_size):
            rows = min(batch_size, count - begin)
            lengths = rng.integers(8, 17, rows)
            targets = rng.integers(0, len(SPEEDS), rows)
            x = draw(rng, targets, lengths) * np.float32(self.gain)
            if self.poison == "input":
                x[0, 0, 0] = np.nan
            if self.poison == "size":
                x = x[..., :1]
            if self.poison == "interrupt" and epoch == 3 and begin > 0:
                raise KeyboardInterrupt
            time.sleep(self.pause_s)
            yield Batch(x, lengths, targets)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        for begin in range(0, self.size, batch_size):
            rows = min(batch_size, self.size - begin)
            lengths = np.full(rows, rng.integers(8, 17))
            targets = rng.integers(0, len(SPEEDS), rows)
            x = draw(rng, targets, lengths) * np.float32(self.gain)
            yield Batch(x, lengths, targets)


@dataclass(frozen=True)
class Turns:
    recipe: Recipe = RECIPE
    size: int = 220
    poison: str = ""
    pause_s: float = 0.0
    repeats: int = 1
    gain: float = 1.0
    validation_gain: float = 1.0
    name: str = "turns"
    summary: str = "How a point circles"
    origin: Origin = field(default_factory=lambda: Origin("drawn at random", "none", "", 0))
    network: Network = field(default_factory=Network)
    metric: Metric = field(default_factory=lambda: Metric("accuracy", higher_is_better=True))
    input_size: int = 2
    output_size: int = len(SPEEDS)
    loss: str = "cross_entropy_of_mean"
    frame_rate_hz: float | None = None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        train = TurnsSplit(self.size, 1, self.poison, self.pause_s, self.repeats, self.gain)
        validation = TurnsSplit(100, 2, gain=self.validation_gain)
        return {"train": train, "validation": validation, "test": TurnsSplit(100, 3)}

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        return {"kind": "none", "columns": ("x", "y")}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        right = total = 0
        loss = 0.0
        for batch in split.batches(20):
            logits = run({"x": batch.x})["y"].mean(axis=1)
            right += int((logits.argmax(axis=1) == batch.targets).sum())
            total += len(batch.targets)
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            loss -= float(log_p[np.arange(len(log_p)), batch.targets].sum())
        return {"accuracy": right / total, "loss": loss / total}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        return {"x": np.load(path)[None]}

    def answer(self, outputs: Mapping[str, np.ndarray], preprocessing: Mapping[str, Any]) -> str:
        return self.labels()[int(outputs["y"].mean(axis=1).argmax())]

    def labels(self) -> Sequence[str]:
        return ("fast left", "left", "right", "fast right")


def make_task(**changes: Any) -> Turns:
    """Return the task with some recipe values or own attributes changed."""
    names = ("size", "poison", "pause_s", "repeats", "loss", "metric", "gain", "validation_gain")
    own = {name: changes.pop(name) for name in names if name in changes}
    return Turns(recipe=replace(RECIPE, **changes), **own)


def main() -> int:
    import torch

    from edgernn.errors import EdgernnError
    from edgernn.training import ModelConfig, TrainOptions, show_progress, train

    torch.set_num_threads(1)
    folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    model = {"cell": "gru", "hidden_size": 8, "layers": 1, "bidirectional": False}
    model |= given.pop("model", {})
    resume = given.pop("resume", False)
    task = make_task(**given)
    config = ModelConfig(input_size=2, output_size=4, **model)
    try:
        with show_progress() as on_progress:
            train(task, config, TrainOptions(folder, resume=resume), on_progress=on_progress)
    except EdgernnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    # In one piece, because several processes may share the pipe.
    sys.stdout.write(f"done {os.environ.get('RANK', 'alone')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
