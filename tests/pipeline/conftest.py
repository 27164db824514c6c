"""One small trained model and its descendants, made once for all tests of the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.cli import Cli, runner

import edgernn
from edgernn.api import export_run
from edgernn.tasks import get_task
from edgernn.training import ModelConfig, TrainOptions


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    config = ModelConfig("gru", input_size=40, hidden_size=24, output_size=10)
    edgernn.train("keywords", config, TrainOptions(folder, epochs=2))
    return folder


@pytest.fixture(scope="session")
def exported(trained: Path) -> Path:
    path = trained.parent / "kw.onnx"
    export_run(trained, path)
    return path


@pytest.fixture(scope="session")
def quantized(exported: Path) -> Path:
    path = exported.with_name("kw.int8.onnx")
    edgernn.quantize(exported, path)
    return path


@pytest.fixture(scope="session")
def wav(trained: Path) -> Path:
    return get_task("keywords").sample(trained.parent)
