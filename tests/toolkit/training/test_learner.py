from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from accelerate import Accelerator

from edgernn.errors import InputError
from edgernn.tasks.base import Batch, Recipe
from edgernn.training import LOSSES, ModelConfig, build_model
from edgernn.training.learner import set_up, train_epoch

SYMBOLS = ModelConfig("gru", 5, 4, 2, kind="text", embedding_size=3)
FEATURES = ModelConfig("gru", 5, 4, 2)
RECIPE = Recipe(epochs=1, batch_size=2, learning_rate=1e-3, weight_decay=0.0, dropout=0.0,
                clip_norm=1.0, patience=1, label_smoothing=0.0)  # fmt: skip


class One:
    """A split of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.x)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        yield self.batch


def train(config: ModelConfig, loss: str, x: np.ndarray, targets: np.ndarray) -> None:
    learner = set_up(Accelerator(cpu=True), RECIPE, 0, LOSSES[loss], lambda: build_model(config))
    batch = Batch(x, np.full(len(x), x.shape[1]), targets)
    train_epoch(learner, One(batch), 1, 1, None)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([[1, 5], [0, 2]]), "holds symbols from 0 to 5, the network knows 0 to 4"),
        (np.array([[1, -1], [0, 2]]), "holds symbols from -1 to 2"),
        (np.zeros((2, 3, 5), np.float32), r"the network takes \[rows, time\]; correct the task"),
    ],
)
def test_symbols_that_the_network_has_not_are_refused(x: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        train(SYMBOLS, "cross_entropy", x, np.array([0, 1]))


def test_targets_that_are_not_finite_are_refused() -> None:
    x, targets = np.zeros((2, 3, 5), np.float32), np.zeros((2, 2), np.float32)
    train(FEATURES, "squared_error_of_last", x, targets)
    targets[1, 1] = np.nan
    with pytest.raises(InputError, match="training batch 0 holds a value that is not finite"):
        train(FEATURES, "squared_error_of_last", x, targets)
