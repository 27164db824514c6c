"""A file that nothing has proven is mentioned by every verb that opens it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli, runner
from helpers.fitted import write_keyword_model
from helpers.models import write_model

from edgernn.npz import write_npz
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import read_model, save_model

REASON = "exported with --no-gate"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def marked(path: Path) -> Path:
    model, metadata = read_model(path)
    save_model(model, replace(metadata, unproven=REASON), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return marked(write_model(tmp_path / "kw.onnx"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).standard_normal((1, 5, 8)).astype(np.float32)
    write_npz(tmp_path / "x.npz", {"x": x})
    return tmp_path / "x.npz"


def warning(path: Path) -> str:
    return f"warning: {path} is unproven: {REASON}\n"


def test_run_and_compare_say_so_once_for_each_file(cli: Cli, model: Path, inputs: Path) -> None:
    assert cli("run", model, "--inputs", inputs).err == warning(model)
    told = cli("run", model, "--inputs", inputs, "--json")
    assert told.err == warning(model)
    assert json.loads(told.out)["outputs"] == {"y": [1, 5, 4]}
    proven = write_model(model.with_name("proven.onnx"))
    assert cli("compare", proven, model, "--inputs", inputs).err == warning(model)
    assert cli("compare", model, model, "--inputs", inputs).err == 2 * warning(model)
    assert cli("run", proven, "--inputs", inputs).err == ""


def test_inspect_shows_it(cli: Cli, model: Path) -> None:
    assert f"unproven      {REASON}" in cli("inspect", model).out
    assert json.loads(cli("inspect", model, "--json").out)["metadata"]["unproven"] == REASON
    assert "unproven" not in cli("inspect", write_model(model)).out


@pytest.mark.parametrize("precision", ["int8-dynamic", "fp16"])
def test_a_quantized_file_is_unproven_too(cli: Cli, model: Path, precision: str) -> None:
    child = model.with_name("child.onnx")
    done = cli("quantize", model, "-o", child, "--precision", precision)
    assert (done.code, done.err) == (0, warning(model))
    assert inspect(child).metadata.unproven == REASON


def test_an_imported_file_stays_unproven(cli: Cli, model: Path) -> None:
    child = model.with_name("clean.onnx")
    done = cli("import", model, "-o", child, "--yes")
    assert done.code == 0, done.err
    assert warning(model) in done.err
    assert inspect(child).metadata.unproven == REASON


def test_generated_c_says_so_in_its_header_and_readme(cli: Cli, model: Path) -> None:
    folder = model.with_name("kw")
    assert cli("compile", model, "-o", folder).err == warning(model)
    assert f" * Unproven: {REASON}.\n" in (folder / "kw.h").read_text()
    assert f"\n\n**Unproven**: {REASON}.\n\n" in (folder / "README.md").read_text()
    assert cli("compile", write_model(model), "-o", folder).err == ""
    assert "nproven" not in (folder / "kw.h").read_text() + (folder / "README.md").read_text()


def test_bench_keeps_it_in_its_results_and_report_shows_it(
    cli: Cli, model: Path, inputs: Path
) -> None:
    result, page = model.with_name("r.json"), model.with_name("r.html")
    done = cli("bench", model, "--scenario", "step", "--iterations", "20", "--warmup", "1",
               "--inputs", inputs, "--json", result, "--report", page)  # fmt: skip
    assert (done.code, done.err) == (0, warning(model))
    assert f"The file is unproven: {REASON}." in done.out
    (row,) = json.loads(result.read_text())["rows"]
    assert row["notes"] == [f"the file is unproven: {REASON}"]
    again, table = model.with_name("again.html"), model.with_name("again.md")
    assert cli("report", result, "-o", again, "--markdown", table).code == 0
    for file in (page, again, table):
        assert f"The file is unproven: {REASON}" in file.read_text()


def test_evaluate_and_a_search_say_so(cli: Cli, tmp_path: Path) -> None:
    model = marked(write_keyword_model(tmp_path / "kw.onnx"))
    assert cli("evaluate", model).err == warning(model)
    chosen, page = tmp_path / "auto.onnx", tmp_path / "auto.html"
    done = cli("quantize", model, "-o", chosen, "--auto", "--samples", "60", "--candidate",
               "int8-dynamic", "--max-drop", "20%", "--report", page)  # fmt: skip
    assert (done.code, done.err) == (0, warning(model))
    assert f"note: kw.onnx is unproven: {REASON}" in done.out
    assert f"kw.onnx is unproven: {REASON}" in page.read_text()
    assert inspect(chosen).metadata.unproven == REASON
