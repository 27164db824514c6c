from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.models import write_model

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "scripts" / "step_overhead.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_measures_and_writes_samples(cell: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", cell=cell, layers=2)
    output = tmp_path / "result.json"
    # The limit of 1.1 is for a quiet machine; here the script itself is tested.
    done = run("--model", model, "--duration", 0.2, "--limit", 3, "-o", output)
    assert done.returncode == 0, done.stderr
    assert "ratio of medians" in done.stdout
    result = json.loads(output.read_text())
    assert result["passed"]
    assert 0.2 < result["ratio"]["median"] < 3
    assert [row["name"] for row in result["rows"]] == [
        "loop over InferenceSession.run",
        "Stream.step",
    ]
    assert all(len(row["samples_ns"]) == sum(row["turns"]) > 100 for row in result["rows"])


def test_limit_exceeded_is_exit_code_6(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    done = run("--model", model, "--duration", 0.1, "--limit", 0.01, "-o", tmp_path / "r.json")
    assert done.returncode == 6
    assert "times the loop" in done.stderr


def test_a_model_that_cannot_stream_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", contract=False)
    done = run("--model", model, "-o", tmp_path / "r.json")
    assert done.returncode == 3
    assert "state contract" in done.stderr
    assert "Traceback" not in done.stderr
