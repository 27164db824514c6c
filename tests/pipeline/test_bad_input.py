"""What can go wrong ends with one line that helps, the documented exit code, and no new file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import Cli, Result, runner
from helpers.models import write_model
from safetensors.torch import save_file

from edgernn.tasks import get_task


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own module in the current folder, importable under a name of its own."""
    name = f"mymodel_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\n\n\n"
        "class Tagger(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.gru = nn.GRU(6, 8, batch_first=True)\n"
        "        self.head = nn.Linear(8, 3)\n\n"
        "    def forward(self, x):\n"
        "        return self.head(self.gru(x)[0])\n\n\n"
        "def broken():\n"
        "    return 'not a module'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert result.err.startswith("error: ")
    for word in words:
        assert word in result.err, result.err


def test_file_that_is_not_onnx(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "notes.onnx"
    path.write_bytes(b"hello, this is text")
    target = tmp_path / "out.onnx"
    assert_refused(cli("inspect", path), 3, "notes.onnx")
    assert_refused(cli("quantize", path, "-o", target), 3, "notes.onnx")
    assert_refused(cli("run", path, "--inputs", "x.npz"), 3, "notes.onnx")
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, model: Path, cli: Cli, share: float) -> None:
    content = model.read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(content[: int(len(content) * share)])
    old = tmp_path / "old.onnx"
    old.write_bytes(b"older file")
    assert_refused(cli("inspect", cut), 3, "cut.onnx")
    assert_refused(cli("quantize", cut, "-o", old), 3, "cut.onnx")
    assert_refused(cli("run", cut, "--inputs", "x.npz"), 3, "cut.onnx")
    assert old.read_bytes() == b"older file"


def test_missing_files(tmp_path: Path, model: Path, cli: Cli) -> None:
    assert_refused(cli("inspect", tmp_path / "no.onnx"), 3, "no.onnx")
    assert_refused(cli("evaluate", tmp_path / "no.onnx"), 3, "no.onnx")
    assert_refused(cli("run", model, "--inputs", tmp_path / "no.npz"), 3, "no.npz")
    assert_refused(cli("report", tmp_path / "no.json"), 3, "no.json")
    assert_refused(cli("export", tmp_path / "norun", "-o", tmp_path / "a.onnx"), 3, "norun")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((1, 5, 7), np.float32), ("[batch, time, 8]", "[1, 5, 7]")),
        (np.zeros((5, 8), np.float32), ("[batch, time, 8]", "[5, 8]")),
        (np.zeros((1, 5, 8), np.float64), ("float32", "float64")),
        (np.zeros((1, 0, 8), np.float32), ("empty",)),
        (np.full((1, 5, 8), np.nan, np.float32), ("nan", "[0, 0, 0]")),
        (np.full((1, 5, 8), np.inf, np.float32), ("inf",)),
    ],
)
def test_inputs_that_do_not_fit(
    tmp_path: Path, model: Path, cli: Cli, value: np.ndarray, words: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "x.npz", x=value)
    for extra in ((), ("--stream",)):
        result = cli("run", model, "--inputs", tmp_path / "x.npz", *extra)
        assert_refused(result, 3, *words)


def test_input_of_another_name_and_kind(tmp_path: Path, model: Path, cli: Cli) -> None:
    np.savez(tmp_path / "z.npz", z=np.zeros((1, 5, 8), np.float32))
    assert_refused(cli("run", model, "--inputs", tmp_path / "z.npz"), 3, "['x']", "['z']")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    assert_refused(cli("run", model, "--inputs", tmp_path / "broken.npz"), 3, "npz")
    np.savez(tmp_path / "pickle.npz", x=np.array([{"a": 1}], dtype=object))
    assert_refused(cli("run", model, "--inputs", tmp_path / "pickle.npz"), 3, "npz")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert_refused(cli("run", model, "--inputs", tmp_path / "a.wav"), 3, "names no task")


def test_bench_checks_its_inputs_first(tmp_path: Path, model: Path, cli: Cli) -> None:
    np.savez(tmp_path / "x.npz", x=np.full((1, 5, 8), np.nan, np.float32))
    result = cli("bench", model, "--inputs", tmp_path / "x.npz", "--iterations", "5")
    assert_refused(result, 3, "x.npz", "nan")


def test_unknown_names(tmp_path: Path, model: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    assert_refused(cli("train", "cooking", "-o", out), 2, "cooking", "keywords")
    assert_refused(cli("evaluate", model, "--task", "cooking"), 2, "cooking", "keywords")
    assert_refused(cli("evaluate", model), 2, "--task")
    assert_refused(cli("quantize", model, "--precision", "int3", "-o", out), 2, "int8-dynamic")
    assert_refused(cli("run", model, "--target", "toaster", "--inputs", "x.npz"), 2, "cpu")
    assert_refused(cli("run", model, "--chunk", "5", "--inputs", "x.npz"), 2, "--stream")
    assert not out.exists()


def test_cuda_missing(tmp_path: Path, model: Path, cli: Cli) -> None:
    from edgernn_runtimes import probe

    if probe("cuda").available:
        pytest.skip("this machine has CUDA")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 5, 8), np.float32))
    result = cli("run", model, "--target", "cuda", "--inputs", tmp_path / "x.npz")
    assert_refused(result, 4, "edgernn[cuda]")


def test_output_folder_that_cannot_be_written(tmp_path: Path, model: Path, cli: Cli) -> None:
    (tmp_path / "file").write_text("in the way")
    bad = tmp_path / "file" / "out.onnx"
    assert_refused(cli("quantize", model, "-o", bad), 3, "cannot write")
    assert_refused(cli("train", "keywords", "-o", bad), 3, "write")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 5, 8), np.float32))
    result = cli("run", model, "--inputs", tmp_path / "x.npz", "--outputs", bad)
    assert_refused(result, 3, "cannot write")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(cli("quantize", model, "-o", folder), 3, "is a folder")


def test_own_module_exports_with_its_checkpoint(module: str, tmp_path: Path, cli: Cli) -> None:
    built = __import__(module).Tagger()
    save_file(built.state_dict(), tmp_path / "w.safetensors")
    result = cli("export", f"{module}:Tagger", "--checkpoint", "w.safetensors",
                 "--example", "1,30,6", "-o", "m.onnx")  # fmt: skip
    assert result.code == 0, result.err
    import edgernn

    x = np.random.default_rng(0).standard_normal((2, 11, 6)).astype(np.float32)
    with torch.no_grad():
        expected = built(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(edgernn.load("m.onnx").run({"x": x})["y"], expected, atol=1e-5)


def test_checkpoint_of_another_architecture(module: str, tmp_path: Path, cli: Cli) -> None:
    save_file(torch.nn.GRU(6, 9).state_dict(), tmp_path / "other.safetensors")
    arguments = ("export", f"{module}:Tagger", "--example", "1,30,6", "-o", "m.onnx")
    result = cli(*arguments, "--checkpoint", "other.safetensors")
    assert_refused(result, 3, "architecture")
    torch.save(__import__(module).Tagger().state_dict(), tmp_path / "pickle.pt")
    result = cli(*arguments, "--checkpoint", "pickle.pt")
    assert_refused(result, 3, "pickle", "weights_only=True", "safetensors")
    assert not (tmp_path / "m.onnx").exists()


def test_module_that_cannot_be_exported(module: str, tmp_path: Path, cli: Cli) -> None:
    out = ("-o", "m.onnx")
    assert_refused(cli("export", f"{module}:Tagger", *out), 2, "--example")
    assert_refused(cli("export", f"{module}:Nothing", "--example", "1,9,6", *out), 2, "Nothing")
    assert_refused(cli("export", "nowhere.at_all:f", "--example", "1,9,6", *out), 2, "nowhere")
    assert_refused(cli("export", f"{module}:broken", "--example", "1,9,6", *out), 3, "str")
    assert_refused(cli("export", f"{module}:Tagger", "--example", "1,x", *out), 2, "1,100,40")
    assert_refused(
        cli("export", f"{module}:Tagger", "--example", "1,9,5", *out), 3, "1, 9, 5", "got 5"
    )
    assert list(tmp_path.glob("*.onnx")) == []


def test_own_module_with_faults(module: str, tmp_path: Path, cli: Cli) -> None:
    out = ("--example", "1,9,6", "-o", "m.onnx")
    (tmp_path / f"{module}_syntax.py").write_text("def build(:\n")
    assert_refused(cli("export", f"{module}_syntax:build", *out), 3, "SyntaxError")
    (tmp_path / f"{module}_fails.py").write_text("def build():\n    return 1 / 0\n")
    assert_refused(cli("export", f"{module}_fails:build", *out), 3, "ZeroDivisionError")
    (tmp_path / f"{module}_needs.py").write_text("from torch import nothing_there\n")
    assert_refused(cli("export", f"{module}_needs:build", *out), 3, "ImportError")
    for source in (f"{module}:", ":build", ".relative:build"):
        assert_refused(cli("export", source, *out), 2, "MODULE:FUNCTION")
    refused = cli("export", f"{module}:Tagger", *out, "--tolerance", "inf")
    assert_refused(refused, 2, "--tolerance")


def test_demo_into_a_file(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "taken").write_text("in the way")
    assert_refused(cli("demo", "-o", tmp_path / "taken"), 3, "cannot make folder")


def test_accuracy_of_a_model_with_other_features_is_refused(tmp_path: Path, cli: Cli) -> None:
    other = {**get_task("keywords").preprocessing(), "bands": 39}
    path = write_model(tmp_path / "a.onnx", task="keywords", preprocessing=other, input_size=40)
    assert_refused(cli("evaluate", path), 3, "preprocessing", "export it again")


@pytest.mark.slow
def test_interrupted_training_can_be_continued(tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    arguments = ["train", "keywords", "--hidden", "8", "--epochs", "40", "-o", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgernn", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "--resume" in err
    assert "Traceback" not in err
    done = len(metrics.read_text().splitlines())
    assert done >= 1
    assert_refused(cli(*arguments), 2, "--resume")
    short = ["train", "keywords", "--hidden", "8", "--epochs", str(done + 1), "-o", str(run)]
    assert_refused(cli(*short, "--resume"), 3, "epochs")
    assert not list(run.glob(".*.tmp"))
