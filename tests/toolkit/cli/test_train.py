"""``edgernn train --qat``: the options, on the recordings in the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import Cli, runner

import edgernn
from edgernn.training import ModelConfig, TrainOptions, load_run, read_run
from edgernn_exporters.onnx_files import read_model

KEYWORDS = ("train", "keywords")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "kw"
    config = ModelConfig("lstm", input_size=40, hidden_size=6, output_size=10)
    edgernn.train("keywords", config, TrainOptions(folder, epochs=1))
    return folder


@pytest.mark.slow
def test_trains_a_run_on_as_integers_and_exports_it(tmp_path: Path, cli: Cli, parent: Path) -> None:
    small, model = tmp_path / "kw-int8", tmp_path / "kw.onnx"
    arguments = (*KEYWORDS, "--qat", "int8", "--from", parent, "--epochs", "1", "-o", small)
    done = cli(*arguments, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["epochs"] == 1
    run, before = read_run(small), read_run(parent)
    assert (run.model, run.source, run.data) == (before.model, before.source, before.data)
    assert run.qat is not None
    assert (run.qat.precision, run.qat.parent) == ("int8", before.parent)
    assert cli(*arguments, "--resume").code == 0
    assert cli(*arguments).code == 2
    assert cli("export", small, "-o", model).code == 0
    metadata = read_model(model)[1]
    assert metadata.parent == run.parent
    assert metadata.ranges is not None
    assert metadata.ranges["method"] == "training"
    assert set(metadata.ranges["layers"]) == {"rnn.l0", "head"}
    quantized = tmp_path / "kw.int8.onnx"
    done = cli("quantize", model, "--precision", "int8", "-o", quantized)
    assert done.code == 0, done.err
    x = np.random.default_rng(0).standard_normal((2, 150, 40), np.float32)
    with torch.no_grad():
        want = load_run(small)[0](torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(edgernn.load(quantized).run({"x": x})["y"], want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--qat", "int8"), "--from"),
        (("--from", "PARENT"), "--qat"),
        (("--from", "PARENT", "--qat", "int8", "--hidden", "8"), "--hidden does not go with"),
        (("--from", "PARENT", "--qat", "int8", "--cell", "lstm"), "--cell does not go with"),
        (("--from", "PARENT", "--qat", "int8-dynamic"), "int8-dynamic"),
    ],
)
def test_options_that_do_not_go_together_end_with_2(
    tmp_path: Path, cli: Cli, parent: Path, options: tuple[str, ...], message: str
) -> None:
    given = [str(parent) if item == "PARENT" else item for item in options]
    result = cli(*KEYWORDS, *given, "-o", tmp_path / "run")
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "run").exists()


def test_a_run_has_a_page_and_a_log_for_tensorboard(tmp_path: Path, cli: Cli) -> None:
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "kw"
    arguments = (*KEYWORDS, "--hidden", "4", "--epochs", "1", "-o", folder)
    assert cli(*arguments).code == 0
    assert cli(*arguments, "--tensorboard").code == 2  # there is a run already
    assert not list(folder.glob("events.*"))
    assert cli(*arguments, "--resume", "--tensorboard").code == 0
    assert len(list(folder.glob("events.*"))) == 1
    done = cli("report", folder)
    assert done.code == 0, done.err
    assert "in epoch 1 of 1" in (folder / "report.html").read_text()
    assert cli(*arguments, "--resume").code == 0  # the log is not in the way
    assert cli("report", folder, "--markdown", tmp_path / "kw.md").code == 2
    assert "holds no run" in cli("report", tmp_path).err
