from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edgernn.errors import InputError, OutputError
from edgernn_benchmarks import Report

WANTED = {
    "model", "target", "precision", "scenario", "batch", "p50_us", "p90_us", "p99_us",
    "model_bytes", "accuracy", "max_abs_error", "p999_us", "mean_us", "mad_us",
    "throughput_steps_per_s", "real_time_factor", "deadline_misses", "cold_start_ms",
    "peak_memory_bytes", "samples_ns", "error", "available", "error_by_step", "turns", "notes",
}  # fmt: skip


def test_json_has_the_promised_keys(report: Report) -> None:
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (value["schema"], value["version"], value["partial"]) == ("edgernn-benchmark", 1, False)
    for row in value["rows"]:
        assert set(row) >= WANTED
    assert {c["candidate"] for c in value["comparisons"]} == {"kw.int8.onnx on cpu"}
    assert all(c["baseline"] == "kw.onnx on cpu" for c in value["comparisons"])


def test_json_round_trip(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.save_json(path)
    again = Report.load_json(path)
    assert again == report
    assert again.to_json() == report.to_json()


def broken(report: Report, change: Any) -> Any:
    value = copy.deepcopy(report.to_json())
    change(value)
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("schema"),
        lambda v: v.update(version=2),
        lambda v: v.pop("rows"),
        lambda v: v.update(rows={}),
        lambda v: v["rows"][0].pop("model"),
        lambda v: v["rows"][0].update(p50_us="<script>"),
        lambda v: v["rows"][0].update(p50_us=True),
        lambda v: v["rows"][0].update(samples_ns=["1"]),
        lambda v: v["rows"][0].update(samples_ns=[], turns=[]),
        lambda v: v["rows"][0].update(turns=[1]),
        lambda v: v["rows"][0].update(metrics={"accuracy": "high"}),
        lambda v: v["rows"][0].update(error=["a"]),
        lambda v: v["rows"][0].update(p50_us=float("nan")),
        lambda v: v["rows"][0].update(scenario="<b>"),
        lambda v: v.update(environment=None),
        lambda v: v["environment"].update(before=[1]),
        lambda v: v["settings"].update(frame_rates_hz=[1]),
    ],
)
def test_malformed_json_is_refused(report: Report, change: Any) -> None:
    with pytest.raises(InputError):
        Report.from_json(broken(report, change))


def test_unknown_keys_are_ignored(report: Report) -> None:
    assert Report.from_json(broken(report, lambda v: v["rows"][0].update(new=1))) == report


def test_files_that_are_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        Report.load_json(tmp_path / "none.json")
    text = tmp_path / "text.json"
    text.write_text("hello")
    with pytest.raises(InputError, match="not JSON"):
        Report.load_json(text)
    with pytest.raises(InputError, match="not a benchmark report"):
        Report.from_json([])


def test_save_to_a_folder_is_an_output_error(report: Report, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        report.save_html(tmp_path)


def test_markdown(report: Report) -> None:
    text = report.to_markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(report.rows)
    assert len({line.count(" | ") for line in lines}) == 1
    assert "**kw.int8.onnx** on cpu" in text
    assert "98.95 %" in text
