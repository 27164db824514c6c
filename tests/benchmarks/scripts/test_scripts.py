from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "benchmarks" / "scripts"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("script", "arguments", "key"),
    [
        ("startup.py", ["--runs", 1], "samples_ns"),
        ("byte_products.py", ["--rounds", 1, "--calls", 1], "rows"),
        ("file_sizes.py", ["--hidden", 4], "rows"),
        ("quantize_cost.py", ["--hidden", 4, "--inputs", 3], "rows"),
        ("export_cost.py", ["--smaller", 100, "--models", "GRU"], "rows"),
        ("import_cost.py", ["--hidden", 4, "--inputs", 3], "rows"),
        ("scan_cell.py", ["--calls", 16], "parts"),
        ("search_strategies.py", ["--networks", 1, "--layers", 3, "--trials", 6], "rows"),
    ],
)
def test_results_go_into_new_folders(
    script: str, arguments: list[object], key: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "result.json"
    done = run(script, *arguments, "--json", path)
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())[key]
    assert [item.name for item in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("startup.py", []),
        ("byte_products.py", []),
        ("file_sizes.py", []),
        ("demo_time.py", []),
        ("scan_cell.py", []),
        ("keywords_accuracy.py", ["--data", "nowhere"]),
        ("integer_accuracy.py", ["--fsdd", "nowhere", "--etth", "nowhere"]),
    ],
)
def test_a_place_that_cannot_be_written_is_noticed_first(
    script: str, arguments: list[object], tmp_path: Path
) -> None:
    done = run(script, *arguments, "--json", tmp_path)
    assert done.returncode != 0
    assert "is a folder; name a file to write" in done.stderr
    assert done.stdout == ""


def test_a_training_takes_one_thread_and_no_option_says_otherwise() -> None:
    assert "--threads" not in run("keywords_accuracy.py", "--help").stdout


@pytest.mark.slow
def test_a_task_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    done = run("task_results.py", "motion", "--work", tmp_path / "runs", "--json", path)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert set(result["scores"]) == {"float32", "int8-dynamic", "int8"}
    assert len(result["history"]) == result["epochs"]
