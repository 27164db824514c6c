from __future__ import annotations

import pytest
from helpers.models import ModelPair, write_pair

from edgernn_benchmarks import Report, benchmark

ACCURACY = {"kw.onnx": 0.992, "kw.int8.onnx": 0.9895}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelPair:
    return write_pair(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def report(models: ModelPair) -> Report:
    """A real run: two models on cpu, and cuda as it is on this machine."""
    return benchmark(
        [models.plain, models.small],
        ["cpu", "cuda"],
        ["step", "sequence:20x2"],
        iterations=120,
        warmup=5,
        cold_starts=1,
        accuracy=lambda path, target: {"accuracy": ACCURACY[path.name]},
    )
