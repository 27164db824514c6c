"""``edgernn compile``, and what `run`, `evaluate` and `compare` say of an emulated target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli, runner
from helpers.models import write_model

from edgernn.npz import write_npz
from edgernn_runtimes import probe


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def test_compile_says_what_it_wrote(cli: Cli, tmp_path: Path) -> None:
    model, folder = write_model(tmp_path / "kw.onnx"), tmp_path / "kw"
    result = cli("compile", model, "--target", "cortex-m4", "-o", folder)
    assert result.code == 0, result.err
    assert "C for cortex-m4, kw_run in kw.h" in result.out
    assert "1,216 multiply-accumulates a step" in result.out
    assert {"kw.h", "kw.c", "CMakeLists.txt", "README.md", "manifest.json"} <= {
        file.name for file in folder.iterdir()
    }
    again = cli("compile", model, "--target", "native", "-o", folder, "--json", "--chunk", "7",
                "--name", "my net")  # fmt: skip
    told = json.loads(again.out)
    assert (told["name"], told["target"], told["chunk"]) == ("my_net", "native", 7)
    assert not (folder / "kw.h").exists()  # what an older project had more is removed


def test_files_of_the_user_survive_another_compile(cli: Cli, tmp_path: Path) -> None:
    model, folder = write_model(tmp_path / "kw.onnx"), tmp_path / "kw"
    assert cli("compile", model, "-o", folder).code == 0
    mine = [folder / "app.c", folder / "b" / "CMakeCache.txt"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    assert cli("compile", model, "-o", folder, "--name", "other").code == 0
    assert [file.read_text() for file in mine] == ["mine", "mine"]
    assert (folder / "other.c").exists()
    assert not (folder / "kw.c").exists()


def test_a_manifest_of_somebody_else_is_no_leave_to_write(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"name": "a web page", "files": ["index.html"]}')
    result = cli("compile", write_model(tmp_path / "kw.onnx"), "-o", folder)
    assert result.code == 3
    assert [file.name for file in folder.iterdir()] == ["manifest.json"]


def test_compile_is_the_same_bytes_again(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "kw.onnx", cell="lstm")
    for name in ("a", "b"):
        assert cli("compile", model, "-o", tmp_path / name).code == 0
    first, second = ({file.relative_to(tmp_path / name): file.read_bytes()
                      for file in (tmp_path / name).rglob("*") if file.is_file()}
                     for name in ("a", "b"))  # fmt: skip
    assert first == second


REFUSALS = {
    "target": (["--target", "tpu"], 2, "no C is generated for target 'tpu'; choose native, "),
    "fix": (["--fix", "time"], 2, "--fix 'time' is not of the form NAME=SIZE"),
    "axis": (["--fix", "tme=3"], 2, "no dynamic axis tme to fix; the model has batch, time"),
    "batch": (["--batch", "1000000000"], 2, "batch must be at most 1024"),
    "folder": ([], 3, "holds other files; choose an empty"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_compile_refuses_and_leaves_nothing(case: str, cli: Cli, tmp_path: Path) -> None:
    options, code, message = REFUSALS[case]
    folder = tmp_path / "out"
    if case == "folder":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    result = cli("compile", write_model(tmp_path / "kw.onnx"), "-o", folder, *options)
    assert result.code == code
    assert message in result.err
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(
        {"kw.onnx", *(["out"] if case == "folder" else [])}
    )


def test_a_model_without_a_contract_is_compiled_with_sizes(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "kw.onnx", contract=False)
    result = cli("compile", model, "-o", tmp_path / "kw")
    assert result.code == 3
    assert "give it with --fix NAME=SIZE" in result.err
    sizes = ["--fix", "batch=2", "--fix", "time=9"]
    result = cli("compile", model, "-o", tmp_path / "kw", *sizes, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert [item["shape"] for item in told["inputs"]] == [[2, 9, 8], [1, 2, 16]]


@pytest.mark.parametrize("target", ["riscv32", "cortex-m4"])
def test_emulated_targets_count_instructions(cli: Cli, tmp_path: Path, target: str) -> None:
    if not probe(target).available:
        pytest.skip(probe(target).detail)
    model, inputs = write_model(tmp_path / "kw.onnx"), tmp_path / "x.npz"
    write_npz(inputs, {"x": np.random.default_rng(0).standard_normal((1, 5, 8), np.float32)})
    result = cli("run", model, "--inputs", inputs, "--target", target)
    assert result.code == 0, result.err
    assert f"{target}: " in result.out
    assert "instructions (emulated) a step; flash " in result.out
    told = [json.loads(cli("run", model, "--inputs", inputs, "--target", target, "--json").out)
            for _ in range(2)]  # fmt: skip
    assert told[0] == told[1]
    assert told[0]["emulated"]["peak_stack_bytes"] > 0
    compared = cli("compare", model, model, "--inputs", inputs, "--candidate-target", target,
                   "--tolerance", "2e-6")  # fmt: skip
    assert compared.code == 0, compared.err
    assert f"candidate on {target}: " in compared.out
