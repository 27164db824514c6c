"""A device has numpy and a runtime, nothing more: what importing and asking for help pulls in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.models import write_model

HEAVY = {"torch", "onnxruntime", "onnx", "accelerate", "onnxscript", "rich"}
REPORT = "import sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    ["edgernn", "edgernn_runtimes", "edgernn_exporters", "edgernn_benchmarks", "edgernn.tasks",
     "edgernn.training", "edgernn.api", "edgernn.sessions", "edgernn.audio"],
)  # fmt: skip
def test_importing_a_package_loads_no_engine(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_help_loads_neither_engine_nor_numpy() -> None:
    code = """
from edgernn.cli import edgernn
edgernn.main(["--help"], standalone_mode=False)
"""
    assert not modules_after(code) & (HEAVY | {"numpy"})


def test_running_a_model_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    code = """
import sys
for name in ("torch", "onnx", "onnxscript", "accelerate", "safetensors"):
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
import edgernn_runtimes
stream = edgernn_runtimes.load(sys.argv[1], "cpu", threads=1).stream()
print(stream.step(np.ones((1, 3, 8), np.float32)).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, write_model(tmp_path / "m.onnx")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "(1, 3, 4)"


def test_telemetry_of_onnxruntime_is_off_unless_set() -> None:
    code = """
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
import edgernn_runtimes
edgernn_runtimes.probe("cpu")
print(os.environ["ORT_DISABLE_TELEMETRY"])
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
edgernn_runtimes.probe("cpu")
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
