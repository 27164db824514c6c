"""Custom cells as Scan with contract states: every target streams them alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.scans import CELLS, cell_model

import edgernn
from edgernn.streaming import run_in_chunks


@pytest.mark.parametrize("cell", CELLS)
def test_native_streams_as_cpu_does(cell: str, tmp_path: Path) -> None:
    inputs = 7 if cell == "sru" else 5  # its output adds its input
    path = tmp_path / "cell.onnx"
    onnx.save(cell_model(cell, inputs=inputs, linear=3), path)
    x = normal(1, 70, 2, inputs)
    want = edgernn.load(path, "cpu", threads=1).run({"x": x})["y"]
    session = edgernn.load(path, "native")
    np.testing.assert_allclose(session.run({"x": x})["y"], want, atol=1e-5)
    for chunk in (1, 7, 32, 33):
        got = run_in_chunks(session, {"x": x}, chunk)["y"]
        np.testing.assert_allclose(got, want, atol=1e-5)
    stream = session.stream(batch=2)
    stream.step(x[:10])
    kept = dict(stream.state)
    ahead = stream.step(x[10:20])
    stream.reset()
    np.testing.assert_allclose(stream.step(x[:1]), want[:1], atol=1e-5)
    stream.state = kept
    np.testing.assert_array_equal(stream.step(x[10:20]), ahead)


def test_a_complete_project_passes_its_own_test(tmp_path: Path) -> None:
    path, folder = tmp_path / "cell.onnx", tmp_path / "cell"
    onnx.save(cell_model("projected_lstm", linear=3), path)
    edgernn.compile(path, folder)
    build = ["cmake", "-B", "b", "-DCMAKE_BUILD_TYPE=Release"]
    for command in (build, ["cmake", "--build", "b"], ["ctest", "--test-dir", "b"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "100% tests passed" in done.stdout
