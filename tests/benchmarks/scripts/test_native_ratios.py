from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgernn_runtimes
from edgernn_benchmarks.peers import emx

SCRIPTS = Path(__file__).parents[3] / "benchmarks" / "scripts"
NATIVE, M4 = edgernn_runtimes.probe("native"), edgernn_runtimes.probe("cortex-m4")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(not NATIVE.available, reason=NATIVE.detail)
@pytest.mark.skipif(not emx.probe().available, reason=emx.probe().detail)
def test_ratios_of_generated_c(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ratios.json"
    small = ("--cell", "gru", "--size", "4,8,1", "--calls", 40)
    done = run("native_ratios.py", *small, "--json", path)
    assert done.returncode in (0, 6), done.stderr  # this is no quiet machine
    result = json.loads(path.read_text())
    assert result["passed"] == (done.returncode == 0)
    assert len(result["gates"]) == 10
    for gate in result["gates"]:
        assert gate["title"] in done.stdout
        assert gate["ratios"], gate["title"]
        assert all(ratio["low"] <= ratio["median"] <= ratio["high"] for ratio in gate["ratios"])
    (model,) = result["models"]
    rows = {(row["part"], row["name"]): row for row in model["rows"]}
    assert len(rows["step", "float32"]["samples_ns"]) == 40
    assert rows["C step", "emx float32"]["steps_a_sample"] == 32
    for row in rows.values():
        assert len(row["samples_ns"]) == sum(row["turns"])


def test_a_target_without_a_library_does_not_pass(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    small = ("--cell", "lstm", "--size", "3,4,1", "--calls", 20, "--target", "cpu")
    done = run("native_ratios.py", *small, "--json", path)
    assert done.returncode == 6, done.stderr
    assert "limits are not kept" in done.stderr
    assert "not measured: needs a target with a C library" in done.stdout
    gates = {gate["title"]: gate for gate in json.loads(path.read_text())["gates"]}
    assert not gates["float32 step in C, against emx-onnx-cgen"]["passed"]


@pytest.mark.parametrize("script", ["native_ratios.py", "cortex_m_instructions.py"])
def test_a_place_that_cannot_be_written_is_noticed_first(script: str, tmp_path: Path) -> None:
    done = run(script, "--json", tmp_path)
    assert done.returncode == 3
    assert "is a folder; name a file to write" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not M4.available, reason=M4.detail)
def test_instructions_are_counted_and_judged(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    done = run("cortex_m_instructions.py", "--target", "cortex-m4", "--json", path)
    assert done.returncode == 0, (
        done.stdout + done.stderr
    )  # counts repeat, so limits can be asserted
    assert "instructions (emulated)" in done.stdout
    result = json.loads(path.read_text())
    precisions = ["float32", "int8-dynamic", "int8", "w8a16", "int4"]
    assert [row["precision"] for row in result["rows"]] == precisions
    assert all(0.7 < row["instructions_per_mac"] <= row["limit"] for row in result["rows"])
