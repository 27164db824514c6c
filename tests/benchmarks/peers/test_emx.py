from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import write_model

from edgernn.errors import ModelError, TargetUnavailable
from edgernn_benchmarks import Report, benchmark
from edgernn_benchmarks.opening import open_session
from edgernn_benchmarks.peers import emx
from edgernn_benchmarks.report_table import print_report

pytestmark = pytest.mark.skipif(not emx.probe().available, reason=emx.probe().detail)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Its C writes the outputs of the backward direction in the wrong order."""
    path = write_model(
        tmp_path_factory.mktemp("wrong") / "both.onnx", cell="lstm", bidirectional=True
    )
    return benchmark(
        [path], scenarios=["sequence:5"], peers=["onnxruntime", "emx"], iterations=30, warmup=2,
        cold_starts=0,
    )  # fmt: skip


def test_wrong_outputs_are_marked(wrong: Report) -> None:
    marked = {row.target: row.wrong_outputs for row in wrong.rows}
    assert marked == {"cpu": False, "peer:onnxruntime": False, "peer:emx": True}
    row = wrong.rows[-1]
    assert row.available
    assert len(row.samples_ns) == 30
    assert row.max_abs_error is not None
    assert row.max_abs_error > 0.01
    assert row.notes[0].startswith("wrong outputs: y is off by ")
    assert Report.from_json(wrong.to_json()) == wrong


def test_wrong_rows_are_compared_with_nothing(wrong: Report) -> None:
    assert [found.candidate for found in wrong.comparisons()] == ["both.onnx on peer:onnxruntime"]
    assert "both.onnx on peer:emx" not in [row.label for row in wrong.timed]
    html = wrong.to_html()
    assert html.count("<del>") >= 6  # the times, and the key
    for figure in html.split("<figure")[1:]:
        assert "peer:emx" not in figure.split("</figure>")[0]


def test_wrong_rows_say_so_everywhere(wrong: Report, capsys: pytest.CaptureFixture[str]) -> None:
    text = wrong.to_markdown()
    assert "on peer:emx (**wrong outputs**) | ~~" in text
    assert "Wrong outputs: y is off by" in text
    assert "peer:emx has the lowest median" not in text
    assert "wrong outputs: y is off by" in wrong.to_html()
    print_report(wrong)
    assert "peer:emx (wrong outputs)" in capsys.readouterr().out


@pytest.mark.usefixtures("wrong")
def test_other_arithmetic_of_the_process_stays() -> None:
    tiny = np.array([1e-40], np.float32)
    assert (tiny * np.float32(0.5) > 0).all()


def test_a_call_that_would_overflow_the_stack_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "m.onnx", hidden_size=4)
    monkeypatch.setattr("resource.getrlimit", lambda _: (200, 200))
    with pytest.raises(ModelError, match="MB of stack"):
        open_session(path, "peer:emx")


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(purpose: str) -> list[str]:
        raise TargetUnavailable(f"{purpose} needs one; install it with: apt-get install gcc")

    monkeypatch.setattr("edgernn_benchmarks.peers.emx.find_host_compiler", missing)
    assert emx.probe().remedy == "apt-get install gcc"
    with pytest.raises(TargetUnavailable):
        open_session(write_model(tmp_path / "m.onnx", hidden_size=4), "peer:emx")
