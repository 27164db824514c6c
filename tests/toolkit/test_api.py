"""The verbs as functions; what they do is tested with the packages that do it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.models import write_model, write_pair

import edgernn
from edgernn.errors import TargetUnavailable, UsageError
from edgernn.extras import needs


def test_every_public_name_resolves_and_is_listed() -> None:
    for name in edgernn.__all__:
        assert getattr(edgernn, name).__name__ == name
        assert name in dir(edgernn)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgernn.nothing  # noqa: B018 - the access is the test


def test_compare_takes_paths_and_sessions(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    inputs = {"x": np.random.default_rng(0).standard_normal((2, 9, 8), np.float32)}
    by_path = edgernn.compare(pair.plain, pair.small, inputs)
    by_session = edgernn.compare(edgernn.load(pair.plain), edgernn.load(pair.small), inputs)
    assert by_path == by_session
    assert by_path.max_abs_error > 0
    assert len(by_path.outputs["y"].error_by_step) == 9


def test_benchmark_takes_paths_targets_and_scenarios_by_position(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    report = edgernn.benchmark([path], ["cpu"], ["step"], iterations=5, cold_starts=0)
    assert [row.scenario for row in report.rows] == ["step"]


def test_evaluate_asks_for_a_known_split_and_task(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="names no task"):
        edgernn.evaluate(path)
    with pytest.raises(UsageError, match="no split 'dev'"):
        edgernn.evaluate(path, "keywords", split="dev")


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(TargetUnavailable, match=r"edgernn\[train,cpu\]") as caught, needs("train"):
        import package_that_is_not_there  # noqa: F401 - the import is the test
    assert caught.value.exit_code == 4
    with pytest.raises(ZeroDivisionError), needs("train"):
        raise ZeroDivisionError


def test_without_torch_training_and_export_say_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
from edgernn.cli import main
main(sys.argv[1:])
"""
    for verb in (["train", "keywords", "-o", "run"], ["export", "run", "-o", "a.onnx"],
                 ["export", "json:loads", "--example", "1,2,3", "-o", "a.onnx"]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, *verb], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 4, done.stderr
        assert "pip install 'edgernn[" in done.stderr
        assert "Traceback" not in done.stderr
