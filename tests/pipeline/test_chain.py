"""The main job as a user does it: every verb on the model of the step before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli

import edgernn
from edgernn_runtimes import probe

pytestmark = pytest.mark.slow


def test_train_export_and_quantize_from_the_command_line(tmp_path: Path, cli: Cli) -> None:
    run, model, small = tmp_path / "run", tmp_path / "kw.onnx", tmp_path / "kw.int8.onnx"
    trained = cli("train", "keywords", "--cell", "lstm", "--hidden", "12", "--epochs", "1",
                  "-o", run, "--json")  # fmt: skip
    assert trained.code == 0, trained.err
    assert json.loads(trained.out)["best"]["epoch"] == 1
    exported = cli("export", run, "-o", model, "--json")
    assert exported.code == 0, exported.err
    found = json.loads(exported.out)
    assert found["states"] == ["rnn.h_l0", "rnn.c_l0"]
    assert found["causal"] is True
    assert found["gate"]["max_error"] < 1e-5
    quantized = cli("quantize", model, "-o", small, "--json")
    assert quantized.code == 0, quantized.err
    assert json.loads(quantized.out)["bytes"] == small.stat().st_size < model.stat().st_size


def test_a_wav_gives_the_same_whole_and_streamed(
    exported: Path, wav: Path, tmp_path: Path, cli: Cli
) -> None:
    whole, stepped, chunked = (tmp_path / f"{name}.npz" for name in ("whole", "step", "chunk"))
    for arguments in (
        ("--outputs", whole),
        ("--outputs", stepped, "--stream"),
        ("--outputs", chunked, "--stream", "--chunk", "7"),
    ):
        done = cli("run", exported, "--inputs", wav, *arguments)
        assert done.code == 0, done.err
        assert "answer: " in done.out
    expected = np.load(whole)["y"]
    assert expected.ndim == 3
    assert expected.shape[2] == 10
    for path in (stepped, chunked):
        np.testing.assert_allclose(np.load(path)["y"], expected, atol=1e-5)


def test_features_of_run_are_those_of_training(exported: Path, wav: Path) -> None:
    from edgernn.tasks import get_task

    session = edgernn.load(exported)
    task = get_task("keywords")
    preprocessing = session.metadata.preprocessing
    assert preprocessing == task.preprocessing()
    given = task.read(wav, preprocessing)["x"]
    digit, frames = int(wav.stem.split("_")[0]), given.shape[1]
    same = [
        batch.x[row]
        for batch in task.splits(edgernn.tasks.base.DataSource())["test"].batches(64)
        for row in range(len(batch.x))
        if batch.lengths[row] == frames and batch.targets[row] == digit
    ]
    assert any(np.abs(clip - given[0]).max() < 0.05 for clip in same)


def test_compare_shows_the_distance_and_can_fail(
    exported: Path, quantized: Path, wav: Path, cli: Cli
) -> None:
    shown = cli("compare", exported, quantized, "--inputs", wav)
    assert shown.code == 0, shown.err
    assert "max error" in shown.out
    assert "along time" in shown.out
    values = json.loads(cli("compare", exported, quantized, "--inputs", wav, "--json").out)
    error = values["outputs"]["y"]["max_abs_error"]
    assert 0 < error < 1
    assert max(values["outputs"]["y"]["error_by_step"]) == error
    failed = cli("compare", exported, quantized, "--inputs", wav, "--tolerance", str(error / 2))
    assert failed.code == 5
    assert "off by" in failed.err
    assert cli("compare", exported, exported, "--inputs", wav, "--tolerance", "0").code == 0


def test_evaluate_agrees_with_the_library(exported: Path, cli: Cli) -> None:
    shown = cli("evaluate", exported, "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out) == edgernn.evaluate(exported, "keywords")


def test_inspect_shows_lineage(exported: Path, quantized: Path, cli: Cli) -> None:
    whole = json.loads(cli("inspect", exported, "--json").out)
    small = json.loads(cli("inspect", quantized, "--json").out)
    assert small["metadata"]["parent"] == whole["sha256"]
    assert small["metadata"]["precision"] == "int8-dynamic"
    assert whole["layers"][0]["operator"] == "GRU"
    assert whole["layers"][0]["hidden_size"] == small["layers"][0]["hidden_size"] == 24
    assert whole["layers"][0]["input_size"] == small["layers"][0]["input_size"] == 40
    text = cli("inspect", quantized).out
    for word in ("int8-dynamic", "-> rnn.h_l0.next, starts at zeros", "logmel", whole["sha256"]):
        assert word in text


def test_bench_and_report(exported: Path, quantized: Path, tmp_path: Path, cli: Cli) -> None:
    result, page = tmp_path / "out.json", tmp_path / "report.html"
    done = cli("bench", exported, quantized, "--target", "cpu", "--target", "cuda",
               "--scenario", "step", "--scenario", "sequence:20", "--iterations", "20",
               "--json", result, "--report", page)  # fmt: skip
    assert done.code == 0, done.err
    rows = json.loads(result.read_text())["rows"]
    assert len(rows) == 8
    wanted = {"model", "target", "precision", "scenario", "batch", "p50_us", "p90_us", "p99_us",
              "model_bytes", "accuracy", "max_abs_error"}  # fmt: skip
    for row in rows:
        assert wanted <= set(row)
    measured = [row for row in rows if row["target"] == "cpu"]
    assert all(row["p50_us"] > 0 and 0 <= row["accuracy"] <= 1 for row in measured)
    by_precision = {row["precision"]: row["max_abs_error"] for row in measured}
    assert by_precision["float32"] == 0 < by_precision["int8-dynamic"]
    missing = [row for row in rows if row["target"] == "cuda" and row["error"]]
    if missing:  # no GPU here
        assert len(missing) == 4
        assert all("edgernn[cuda]" in row["error"] for row in missing)
        alone = cli("bench", exported, "--target", "cuda", "--scenario", "step", "--no-accuracy")
        assert alone.code == 4
        assert "nothing was measured" in alone.err
    again = tmp_path / "again.html"
    assert cli("report", result, "-o", again).code == 0
    assert again.read_text() == page.read_text()


def test_demo_runs_the_whole_chain_and_can_be_called_again(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "demo"
    first = cli("demo", "-o", folder, "--epochs", "1")
    assert first.code == 0, first.err
    assert first.out.count("$ edgernn ") == 11
    for name in ("kw.onnx", "kw.int8.onnx", "y.npz", "kw/kw.c", "report.json", "report.html"):
        assert (folder / name).stat().st_size > 0
    rows = json.loads((folder / "report.json").read_text())["rows"]
    measured = {row["target"]: row for row in rows if row["available"]}
    assert {"cpu", "native"} <= set(measured)
    if probe("cortex-m4").available:
        assert measured["cortex-m4"]["instructions_per_step"] > 0
    weights = (folder / "run" / "model.safetensors").read_bytes()
    again = cli("demo", "-o", folder, "--epochs", "1")
    assert again.code == 0, again.err
    assert (folder / "run" / "model.safetensors").read_bytes() == weights


def test_two_processes_train_under_accelerate_launch(tmp_path: Path) -> None:
    run = tmp_path / "run"
    accelerate = Path(sys.executable).with_name("accelerate")
    done = subprocess.run(
        [accelerate, "launch", "--num_processes", "2", "--cpu", "-m", "edgernn", "train",
         "keywords", "--hidden", "8", "--epochs", "1", "--patience", "3", "-o", run, "--json"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 1  # printed once, by the main process
    assert (run / "model.safetensors").exists()
    written = json.loads((run / "run.json").read_text())
    assert written["processes"] == 2
    assert written["recipe"]["patience"] == 3
