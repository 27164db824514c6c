"""``edgernn quantize`` without a search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli, runner
from helpers.models import write_model

from edgernn_exporters.inspection import inspect


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=(20 * rng.standard_normal((4, 200, 8))).astype(np.float32))
    return write_model(tmp_path / "a.onnx", layers=2)


def test_layers_get_their_precisions(cli: Cli, model: Path) -> None:
    gru, other, head = (name for name in _layers(cli, model))
    data, path = model.with_name("data.npz"), model.with_name("b.onnx")
    given = ["--precision", "int8", "--calibration", data, "--samples", "4", "--method", "mse"]
    chosen = ["--layer", f"{gru[:3]}*=int4", "--layer", f"{other}=w8a16", "--keep", head]
    result = cli("quantize", model, "-o", path, *given, *chosen, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["layers"] == {gru: "int4", other: "w8a16", head: "float32"}
    assert told["kept"] == {head: f"kept by {head!r}"}
    assert told["bytes"] == path.stat().st_size
    assert inspect(path).metadata.layers == told["layers"]
    shown = cli("quantize", model, "-o", path, *given, *chosen).out
    assert f"{path}: int8, 2 layers, " in shown
    assert f"int4: {gru}\nw8a16: {other}\nkept float: MatMul {head}: kept by {head!r}\n" in shown
    assert told["saturation"][gru]["pre_activation"] > 0
    assert told["saturation"][gru]["input"] > 0
    (line,) = [line for line in shown.splitlines() if line.startswith(f"clipped: {gru}: ")]
    assert "input" in line
    assert "pre_activation" not in shown
    assert told["precision"] == "mixed"
    layers = cli("inspect", path).out
    assert f"{gru} int4" in layers
    assert f"{head} float32" in layers


def _layers(cli: Cli, model: Path) -> list[str]:
    told = json.loads(cli("quantize", model, "-o", model.with_name("c.onnx"), "--json").out)
    return list(told["layers"])


def test_what_is_known_of_the_ranges_is_told(cli: Cli, model: Path) -> None:
    data, path = model.with_name("data.npz"), model.with_name("b.onnx")
    result = cli("quantize", model, "-o", path, "--calibration", data, "--json")
    (line,) = json.loads(result.out)["notes"]
    assert line.startswith("the calibration data are not used")
    assert result.err == f"note: {line}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "give data with --calibration"),
        (["--precision", "int3"], "there are fp16, int8-dynamic, int8, w8a16, int4"),
        (["--layer", "int8"], "--layer takes PATTERN=PRECISION"),
        (["--layer", "nose=fp16"], "no layer is named 'nose'; the layers are"),
        (["--keep", "nose"], "no layer is named 'nose'; the layers are"),
        (["--method", "mse"], "give calibration data with them"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    cli: Cli, model: Path, arguments: list[str], message: str
) -> None:
    result = cli("quantize", model, "-o", model.with_name("b.onnx"), *arguments)
    assert result.code == 2
    assert message in result.err
    assert not model.with_name("b.onnx").exists()
