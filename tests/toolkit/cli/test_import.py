"""``edgernn import``: exit codes, what it prints, and what it asks."""

from __future__ import annotations

import json
from pathlib import Path

import click
import onnx
import pytest
from helpers.cli import Cli, runner
from helpers.foreign import NODE, lstm_model, save, voice_model
from helpers.graphs import normal

from edgernn.cli import import_model
from edgernn.npz import write_npz
from edgernn_exporters.onnx_files import read_model


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def test_what_was_found_is_printed(cli: Cli, tmp_path: Path) -> None:
    clean = tmp_path / "clean.onnx"
    done = cli("import", save(lstm_model(), tmp_path), "-o", clean)
    assert done.code == 0
    for line in (
        "input         x float32 [time, batch, 4], batch axis 1, time axis 0",
        "state         h float32 [1, batch, 8] -> hn, starts at zeros, batch axis 1",
        "streaming     yes, causal",
        "proven against the original in onnxruntime: ",
        "1000 steps with states fed back",
    ):
        assert line in done.out
    assert done.err == "note: The opset is 20 now; it was 17.\n"
    told = cli("import", tmp_path / "model.onnx", "-o", clean, "--json")
    found = json.loads(told.out)
    assert [state["input"] for state in found["contract"]["state"]] == ["h", "c"]
    assert found["gate"]["against"] == "onnxruntime"
    assert found["unproven"] is None
    assert found["notes"]


def test_fixes_states_and_inputs(cli: Cli, tmp_path: Path) -> None:
    path, clean = save(voice_model(), tmp_path), tmp_path / "clean.onnx"
    write_npz(tmp_path / "x.npz", {"frame": normal(0, 2, 24), "state": normal(1, 2, 2, 16)})
    done = cli(
        "import", path, "-o", clean, "--fix", "sr=16000", "--fix", "batch=2", "--inputs",
        tmp_path / "x.npz", "--yes",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "note: Input 'sr' is a constant now: 16000.\n" in done.err
    assert "frame float32 [2, time, 24]" in done.out
    done = cli("import", path, "-o", clean, "--fix", "sr=16000", "--state", "state=speech_out")
    assert done.code == 2
    assert "of the same shape and type are 'stateN'" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--fix", "sr"], "--fix takes NAME=VALUE, not 'sr'"),
        (["--fix", "sr=abc"], "--fix sr=abc: give a number, or a list such as [1,2]"),
        (["--fix", "h=1", "--fix", "h=2"], "--fix names 'h' twice"),
        (["--fix", "rate=1"], "dynamic axes 'time', 'batch'"),
        (["--state", "x"], "--state takes NAME=VALUE"),
        (["--state", "q=y"], "the model has no input 'q'"),
        (["--max-file", "many"], "'many' is not a size"),
    ],
)
def test_usage(arguments: list[str], text: str, cli: Cli, tmp_path: Path) -> None:
    done = cli("import", save(lstm_model(), tmp_path), "-o", tmp_path / "clean.onnx", *arguments)
    assert done.code == 2
    assert text in done.err
    assert not (tmp_path / "clean.onnx").exists()


def test_bad_files_end_with_3(cli: Cli, tmp_path: Path) -> None:
    clean = tmp_path / "clean.onnx"
    (tmp_path / "cut.onnx").write_bytes(lstm_model().SerializeToString()[:300])
    done = cli("import", tmp_path / "cut.onnx", "-o", clean)
    assert (done.code, done.out) == (3, "")
    assert done.err.count("\n") == 1
    path = save(lstm_model(), tmp_path)
    assert cli("import", path, "-o", clean, "--max-file", "1k").code == 3
    assert cli("import", path, "-o", clean, "--max-tensor", "1k").code == 3
    assert cli("import", tmp_path / "none.onnx", "-o", clean).code == 3
    model = lstm_model()
    model.graph.node.append(NODE("Odd", ["x"], ["o"], domain="vendor"))
    done = cli("import", save(model, tmp_path, "odd.onnx"), "-o", clean)
    assert done.code == 3
    assert "Odd of domain 'vendor' (Odd node 'o')" in done.err


def test_an_unproven_file_is_marked(cli: Cli, tmp_path: Path) -> None:
    clean = tmp_path / "clean.onnx"
    done = cli("import", save(lstm_model(), tmp_path), "-o", clean, "--no-gate")
    assert done.code == 0
    assert "not proven" in done.out
    assert read_model(clean)[1].unproven == "imported with --no-gate"
    x = tmp_path / "x.npz"
    write_npz(x, {"x": normal(0, 3, 1, 4)})
    assert "is unproven: imported with --no-gate" in cli("run", clean, "--inputs", x).err


def test_a_model_that_the_runtime_refuses_ends_with_5(cli: Cli, tmp_path: Path) -> None:
    model = lstm_model()
    model.graph.node[0].attribute.extend(
        [onnx.helper.make_attribute("layout", 1), onnx.helper.make_attribute("clip", 1.0)]
    )
    for spec in (*model.graph.input[1:], *model.graph.output[1:]):
        dims = spec.type.tensor_type.shape.dim
        dims[0].dim_param, dims[1].dim_value = "batch", 1
    model.graph.output[0].type.tensor_type.ClearField("shape")
    done = cli("import", save(model, tmp_path), "-o", tmp_path / "clean.onnx")
    assert done.code == 5, done.err
    assert "--no-gate writes the file without a proof" in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(
    answer: bool, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def confirm(question: str, default: bool) -> bool:
        asked.append((question, default))
        return answer

    monkeypatch.setattr(import_model, "_is_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", confirm)
    clean = tmp_path / "clean.onnx"
    done = cli("import", save(lstm_model(), tmp_path), "-o", clean)
    assert asked == [("Is that right?", True)]
    assert done.code == (0 if answer else 2)
    assert done.out.count("streaming     yes, causal") == 1
    assert clean.exists() == answer
    asked.clear()
    assert cli("import", tmp_path / "model.onnx", "-o", clean, "-y").code == 0
    assert not asked


def test_names_of_a_foreign_file_do_not_control_the_terminal(cli: Cli, tmp_path: Path) -> None:
    hostile = "x\x1b[2J\nproven against the original"
    model = lstm_model()
    model.graph.input[0].name = hostile
    for node in model.graph.node:
        node.input[:] = [hostile if name == "x" else name for name in node.input]
    done = cli("import", save(model, tmp_path), "-o", tmp_path / "clean.onnx")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out + done.err
    assert r"input         x\x1b[2J\nproven against the original float32" in done.out
