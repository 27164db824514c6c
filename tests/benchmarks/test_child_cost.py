from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgernn_benchmarks.child_cost import Cost, cost_of, in_words


def test_the_memory_of_the_command_is_measured_and_not_this_process() -> None:
    ballast = bytearray(b"x" * 400_000_000)  # touched, so it is resident here
    cost = cost_of(["tasks"])
    assert len(ballast) == 400_000_000
    assert 10_000_000 < cost.peak_bytes < 300_000_000
    assert 0 < cost.seconds < 60


def test_a_command_that_fails_is_no_result() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        cost_of(["import", "missing.onnx"])


def test_a_row_says_how_many_files_the_memory_holds(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(2_000_000))
    row = Cost(1.234, 110_000_000).row(Cost(0.5, 100_000_000), file)
    assert row == {
        "file_bytes": 2_000_000, "seconds": 1.23, "peak_bytes": 110_000_000,
        "base_bytes": 100_000_000, "times_the_file": 5.0,
    }  # fmt: skip
    assert "110 MB, 5.00 times the file above 100 MB" in in_words(row)
