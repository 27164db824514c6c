from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgernn_benchmarks.cells import Journal, Plan, Verbs
from edgernn_benchmarks.cells.memory import measure_gradients, measure_memory


class Stop(Exception):
    """Ends a measurement where its training would begin."""


def test_a_network_begins_with_a_memory_as_long_as_its_rows(tmp_path: Path) -> None:
    trained = []

    def train(task: Any, config: Any, options: Any) -> Any:
        trained.append((task.steps, task.recipe.memory_steps, config.hidden_size))
        raise Stop

    none: Any = None
    verbs = Verbs(train, none, none, none, none)
    plan = Plan(lengths=(50,), hidden_size=8)
    with pytest.raises(Stop):
        measure_memory(plan, verbs, Journal(None, {}, [{}], {}), tmp_path, lambda key: None)
    assert trained == [(50, 50, 8)]


def test_only_the_plain_networks_begin_as_pytorch_makes_them(tmp_path: Path) -> None:
    begun = []

    def initial(config: Any, recipe: Any, seed: int, x: Any) -> Any:
        begun.append((config.cell, recipe.memory_steps, seed, x.shape))
        return {}

    def train(task: Any, config: Any, options: Any) -> Any:
        raise Stop

    none: Any = None
    verbs = Verbs(train, none, none, initial, none)
    plan = Plan(gradient_steps=30, gradient_rows=2)
    with pytest.raises(Stop):
        measure_gradients(plan, verbs, Journal(None, {}, [{}], {}), tmp_path, lambda key: None)
    assert begun == [("rnn", 0, 0, (2, 30, 2)), ("rnn", 30, 0, (2, 30, 2))]
