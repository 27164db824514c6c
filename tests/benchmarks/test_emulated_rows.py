from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.models import ModelPair, write_model

import edgernn_runtimes
from edgernn.sessions import Arrays, Emulated
from edgernn_benchmarks import Report, benchmark
from edgernn_benchmarks.opening import open_session
from edgernn_benchmarks.report_table import print_report

QUICK: dict[str, Any] = {"iterations": 20, "warmup": 3, "cold_starts": 0}
M4 = edgernn_runtimes.probe("cortex-m4")


@dataclass(frozen=True)
class Counts:
    instructions_per_step: float
    flash_bytes: int = 44_208
    static_ram_bytes: int = 6_288
    peak_stack_bytes: int = 332


class Counted:
    """A session whose counts are made up; its outputs are those of ``cpu``."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "cpu")
        self.target = "cortex-m4"
        self.metadata = self._session.metadata
        self.inputs, self.outputs = self._session.inputs, self._session.outputs
        self.states = self._session.states

    def measure(self, steps: int) -> Counts:
        if steps == 7:
            raise RuntimeError("the plugin died")
        return Counts(41_234.5 if steps == 1 else 37_618.25)

    def run(self, inputs: Any) -> Arrays:
        return self._session.run(inputs)

    def stream(self, batch: int = 1) -> Any:
        raise AssertionError("an emulated target is not timed")

    def close(self) -> None:
        self._session.close()


def load(path: Path, target: str, **options: Any) -> Any:
    return Counted(path) if target == "cortex-m4" else open_session(path, target, **options)


@pytest.fixture(scope="module")
def counted(models: ModelPair) -> Report:
    assert isinstance(Counted(models.plain), Emulated)
    return benchmark(
        [models.plain, models.small], ["cpu", "cortex-m4"], ["step", "sequence:20"], load=load,
        accuracy=lambda path, target: {"accuracy": 0.5 if target == "cpu" else 0.25}, **QUICK,
    )  # fmt: skip


def test_rows_have_counts_and_no_times(counted: Report) -> None:
    rows = [row for row in counted.rows if row.target == "cortex-m4"]
    assert [row.instructions_per_step for row in rows] == [41_234.5] * 2 + [37_618.25] * 2
    for row in rows:
        assert row.available
        assert (row.flash_bytes, row.static_ram_bytes, row.stack_bytes) == (44_208, 6_288, 332)
        assert (row.p50_us, row.mean_us, row.samples_ns, row.turns) == (None, None, (), ())
        assert row.cold_start_ms is None
        assert row.accuracy == 0.25
        assert (row.max_abs_error == 0) == (row.model == "kw.onnx")
    assert [row.target for row in counted.timed] == ["cpu"] * 4
    assert {found.candidate for found in counted.comparisons()} == {"kw.int8.onnx on cpu"}
    assert all(row.instructions_per_step is None for row in counted.rows if row.target == "cpu")
    assert Report.from_json(counted.to_json()) == counted


def test_counts_are_text_and_not_in_time_plots(
    counted: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    html, text = counted.to_html(), counted.to_markdown()
    print_report(counted)
    for shown in (html, text, capsys.readouterr().out):
        assert "instructions (emulated)" in shown
        assert "41,234" in shown
    assert "44.2 kB of flash, 6.29 kB of static RAM, 332 B of stack" in text
    for figure in html.split("<figure")[1:]:
        if "time of a call" in figure:
            assert "cortex-m4" not in figure.split("</figure>")[0]
    assert "† " not in html.partition("cortex-m4 ·")[2].partition("</tr>")[0]


def test_columns_show_only_where_a_row_has_them(report: Report) -> None:
    for shown in (report.to_html(), report.to_markdown()):
        assert "instructions" not in shown.lower()
        assert "Flash" not in shown


def test_only_emulated_rows(models: ModelPair, capsys: pytest.CaptureFixture[str]) -> None:
    report = benchmark([models.plain], ["cortex-m4"], load=load, **QUICK)
    assert report.timed == ()
    html = report.to_html()
    assert "37,618" not in html
    assert "41,234" in html
    assert "Distribution of the call times" not in html
    assert "p50" not in report.to_markdown()
    print_report(report)
    assert "41,234" in capsys.readouterr().out


def test_what_cannot_be_counted_is_a_row_that_says_why(models: ModelPair, tmp_path: Path) -> None:
    both = write_model(tmp_path / "both.onnx", bidirectional=True)
    report = benchmark(
        [models.plain, both], ["cortex-m4"], ["stepx3", "chunk:7", "chunk:2"], load=load,
        reference=models.plain, **QUICK,
    )  # fmt: skip
    errors = {(row.model, row.scenario): row.error or "" for row in report.rows}
    assert "serves one stream" in errors["kw.onnx", "stepx3"]
    assert "RuntimeError: the plugin died" in errors["kw.onnx", "chunk:7"]
    assert "not causal" in errors["both.onnx", "chunk:2"]
    assert errors["kw.onnx", "chunk:2"] == ""


def test_one_step_is_not_counted_as_several(decoder: Path) -> None:
    report = benchmark(
        [decoder], ["cortex-m4"], ["step", "sequence:20"], load=load, sizes={"source": 5}, **QUICK
    )
    assert report.rows[0].available
    assert "no time axis" in (report.rows[1].error or "")


@pytest.mark.skipif(not M4.available, reason=M4.detail)
def test_a_real_emulator(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", hidden_size=8)
    report = benchmark([path], ["cpu", "cortex-m4"], ["step"], **QUICK)
    row = report.rows[1]
    assert row.available, row.error
    assert row.instructions_per_step is not None
    assert row.instructions_per_step > 1000
    assert row.flash_bytes
    assert row.static_ram_bytes
    assert row.stack_bytes
    assert row.max_abs_error is not None
    assert row.max_abs_error < 1e-5
