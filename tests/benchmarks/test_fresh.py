from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.models import ModelPair

from edgernn_benchmarks.fresh import ColdStart, measure_cold_start, peak_resident_bytes
from edgernn_benchmarks.scenarios import parse


def test_cold_start_and_memory(models: ModelPair) -> None:
    found = measure_cold_start(
        models.plain, "cpu", parse("step"), options={"threads": 1}, seed=0, processes=1
    )
    assert isinstance(found, ColdStart)
    assert found.total_ms == found.import_ms + found.load_ms + found.first_output_ms
    assert min(found.import_ms, found.load_ms, found.first_output_ms) > 0
    assert 1e6 < found.engine_memory_bytes <= found.peak_memory_bytes < 1e9


def test_a_failing_process_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    found = measure_cold_start(broken, "cpu", parse("step"), options={}, seed=0, processes=1)
    assert isinstance(found, str)
    assert "ended with 3" in found
    assert "broken.onnx" in found


def test_peak_does_not_count_the_parent() -> None:
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    code = "from edgernn_benchmarks.fresh import peak_resident_bytes as p; print(p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000_000
    assert peak_resident_bytes() > 300_000_000
    del held


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgernn_benchmarks, edgernn_benchmarks.fresh; "
        "print([m for m in ('numpy', 'onnxruntime', 'torch', 'onnx', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
