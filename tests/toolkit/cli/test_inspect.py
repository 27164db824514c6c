"""``edgernn inspect``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.cli import Cli, runner
from helpers.models import write_model
from helpers.quantized import ranges_for

from edgernn.integer import Ranges
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import read_model, save_model
from edgernn_exporters.quantization import quantize


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def test_a_float_file_names_the_layers_that_patterns_are_for(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx", layers=2)
    names = inspect(model).names
    assert len(names) == 3
    shown = cli("inspect", model).out
    assert f"layers        {', '.join(names)} (for --layer and --keep of edgernn quantize)" in shown
    for name in names:
        assert cli("quantize", model, "-o", tmp_path / "b.onnx", "--keep", name).code == 0


def test_states_of_integer_files_have_a_unit_and_no_brackets_are_empty(
    cli: Cli, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "a.onnx", cell="lstm")
    ranges = ranges_for(inspect(model).names)
    quantize(model, tmp_path / "b.onnx", precision="int8", ranges=ranges, load=None)
    shown = cli("inspect", tmp_path / "b.onnx").out
    assert "h_l0_next, starts at zeros, one unit is 2^-15" in shown
    assert "c_l0_next, starts at zeros, one unit is 2^-12" in shown
    assert "()" not in shown
    assert "one unit" not in cli("inspect", model).out


def test_a_trained_precision_is_shown(cli: Cli, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    assert "trained for" not in cli("inspect", path).out
    trained = Ranges({}, "training", 1, 100, precisions={"rnn": "int4", "head": "int4"})
    model, metadata = read_model(path)
    save_model(model, replace(metadata, ranges=trained.to_json()), path)
    assert "parameters, trained for int4\n" in cli("inspect", path).out
