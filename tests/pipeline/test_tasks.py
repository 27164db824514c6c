"""Each task from training to every target, small, on the data that needs no download."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli

import edgernn
from edgernn import api
from edgernn.tasks import TASKS, get_task
from edgernn.tasks.base import DataSource
from edgernn.training import TrainOptions, advised


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name != "keywords"])
def test_a_task_goes_from_training_to_a_report(tmp_path: Path, cli: Cli, name: str) -> None:
    task = get_task(name)
    config = advised(task, hidden_size=8)
    if config.embedding_size:
        config = replace(config, embedding_size=8)
    edgernn.train(name, config, TrainOptions(tmp_path / "run", epochs=1))
    model = tmp_path / "model.onnx"
    api.export_run(tmp_path / "run", model)
    scores = {"cpu": edgernn.evaluate(model)}
    assert task.metric.name in scores["cpu"]

    printed = json.loads(cli("evaluate", str(model), "--json").out)
    assert printed == scores["cpu"]

    sample = str(task.sample(tmp_path))
    answered = json.loads(cli("run", str(model), "--inputs", sample, "--json").out)
    assert isinstance(answered["answer"], str)
    small = tmp_path / "model.int8.onnx"
    for path in (model, api.encoder_of(model)):
        if path is not None:
            to = tmp_path / path.name.replace("model", "model.int8")
            edgernn.quantize(path, to, precision="int8", calibration=f"task:{name}", samples=20)
    scores["int8"] = edgernn.evaluate(small)
    assert np.isfinite(scores["int8"][task.metric.name])
    report = tmp_path / "report.json"
    if name == "translate":
        text = ("run", str(small), "--text", "a man runs", "--max-steps", "5")
        assert cli(*text).out == cli(*text, "--target", "native").out
        refused = cli("quantize", str(model), "--auto", "-o", str(tmp_path / "auto.onnx"))
        assert (refused.code, "--layer" in refused.err) == (2, True)
        inputs = ("--fix", "source=7", "--scenario", "step", "--target", "native")
    else:
        given = task.read(Path(sample), edgernn.load(model).metadata.preprocessing or {})
        want, have = (edgernn.load(small, target).run(given)["y"] for target in ("cpu", "native"))
        np.testing.assert_allclose(have, want, atol=1e-4 * max(1.0, float(np.abs(want).max())))
        inputs = ("--inputs", sample)
    benched = cli("bench", str(model), str(small), *inputs, "--target", "cpu", "--duration", "0.05",
                  "--json", str(report))  # fmt: skip
    assert benched.code == 0, benched.err
    rows = json.loads(report.read_text())["rows"]
    measured = [row for row in rows if row["error"] is None]  # some models take no single step
    assert {row["model"] for row in measured} == {"model.onnx", "model.int8.onnx"}
    assert all(row["max_abs_error"] is not None for row in measured)


@pytest.mark.slow
def test_a_text_is_gone_on_with_and_a_sentence_judged(tmp_path: Path, cli: Cli) -> None:
    for name, options in (("language", {}), ("sentiment", {})):
        task = get_task(name)
        config = replace(advised(task, hidden_size=8), embedding_size=8, **options)
        edgernn.train(name, config, TrainOptions(tmp_path / name, epochs=1))
        api.export_run(tmp_path / name, tmp_path / f"{name}.onnx")
    further = cli("run", str(tmp_path / "language.onnx"), "--text", "The", "--max-steps", "20").out
    assert further.startswith("The")
    assert len(further.rstrip("\n")) >= 20
    answer = cli("run", str(tmp_path / "sentiment.onnx"), "--text", "the film is warm").out
    assert "answer: " in answer
    assert cli("run", str(tmp_path / "sentiment.onnx"), "--text", "").code == 3
    assert cli("run", str(tmp_path / "sentiment.onnx")).code == 2


def test_text_is_for_models_of_tasks_that_take_one(exported: Path, cli: Cli) -> None:
    result = cli("run", str(exported), "--text", "seven")
    assert result.code == 2
    assert "--text is for models of tasks that take a sentence" in result.err


def test_sources_of_all_tasks_are_named() -> None:
    for name in TASKS:
        task = get_task(name)
        assert task.origin.url.startswith("https://") or task.splits(DataSource())
