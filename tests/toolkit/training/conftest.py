from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from edgernn.training import ModelConfig, RunInfo, TrainOptions, train

TURNS = Path(__file__).with_name("turns.py")


def _load_turns() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgernn_test_turns", TURNS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def turns() -> ModuleType:
    """The task that the tests train: a module with `make_task` and `RECIPE`."""
    return sys.modules.get("edgernn_test_turns") or _load_turns()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return ModelConfig("gru", input_size=2, hidden_size=8, output_size=4)


@pytest.fixture(scope="session")
def train_turns(turns: ModuleType, config: ModelConfig) -> Callable[..., RunInfo]:
    """Train the small task with some values changed."""

    def go(
        folder: Path,
        *,
        config: ModelConfig = config,
        options: dict[str, Any] | None = None,
        on_progress: Any = None,
        **changes: Any,
    ) -> RunInfo:
        given = TrainOptions(folder, **(options or {}))
        return train(turns.make_task(**changes), config, given, on_progress=on_progress)

    return go


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, train_turns: Callable[..., RunInfo]
) -> RunInfo:
    """A finished run that no test may change."""
    torch.set_num_threads(1)
    return train_turns(tmp_path_factory.mktemp("finished") / "run")
