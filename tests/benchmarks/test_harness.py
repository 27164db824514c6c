from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import ModelPair, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgernn_runtimes
from edgernn.errors import EdgernnError, Interrupted, ModelError, UsageError
from edgernn_benchmarks import Report, benchmark
from edgernn_benchmarks.harness import frame_rate
from edgernn_benchmarks.models import describe

ACCURACY = {"kw.onnx": 0.992, "kw.int8.onnx": 0.9895}
QUICK: dict[str, Any] = {"iterations": 20, "warmup": 3, "cold_starts": 0}


def test_rows_are_complete(report: Report) -> None:
    assert len(report.rows) == 8
    assert report.scenarios == ("step", "sequence:20x2")
    for row in report.rows:
        assert row.model in ACCURACY
        assert row.model_bytes
        if row.target == "cpu":
            assert row.available, row.error
            assert len(row.samples_ns) == sum(row.turns) == 120
            assert row.accuracy == ACCURACY[row.model]
            assert row.real_time_factor is not None
            assert 0 < row.real_time_factor < 1
            assert row.cold_start_ms is not None
            assert row.cold_start_ms > 1
            assert row.peak_memory_bytes is not None
            assert row.peak_memory_bytes > 1e6
            assert row.error_by_step is not None
            assert len(row.error_by_step) == 200
            assert max(row.error_by_step) == row.max_abs_error
            assert (row.max_abs_error == 0) == row.reference == (row.model == "kw.onnx")
    assert [row.precision for row in report.rows[:4]] == ["float32"] * 2 + ["int8-dynamic"] * 2


@pytest.mark.skipif(edgernn_runtimes.probe("cuda").available, reason="this machine has CUDA")
def test_an_unavailable_target_is_a_row_that_says_why(report: Report) -> None:
    rows = [row for row in report.rows if row.target == "cuda"]
    assert len(rows) == 4
    for row in rows:
        assert not row.available
        assert "install" in (row.error or "")
        assert row.p50_us is None
        assert row.samples_ns == ()


def test_models_that_a_target_cannot_run_are_rows_too(models: ModelPair, tmp_path: Path) -> None:
    stateless = write_model(tmp_path / "stateless.onnx", contract=False)
    both = write_model(tmp_path / "both.onnx", bidirectional=True)
    paths = [stateless, both, models.plain]
    report = benchmark(paths, scenarios=["step", "sequence:5"], reference=models.plain, **QUICK)
    found = {(row.model, row.scenario): row for row in report.rows}
    assert "no state contract" in (found["stateless.onnx", "step"].error or "")
    assert "not causal" in (found["both.onnx", "step"].error or "")
    assert found["both.onnx", "sequence:5"].available
    assert found["kw.onnx", "step"].available


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cell=st.sampled_from(["gru", "lstm", "rnn"]),
    layers=st.integers(1, 2),
    embedding=st.sampled_from([None, 3]),
    scenario=st.sampled_from(["step", "stepx3", "chunk:4", "sequence:6x2"]),
)
def test_every_kind_of_model(
    cell: str, layers: int, embedding: int | None, scenario: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("any") / "m.onnx"
    write_model(path, cell=cell, layers=layers, embedding=embedding)
    (row,) = benchmark([path], scenarios=[scenario], **QUICK).rows
    assert row.available, row.error
    assert len(row.samples_ns) == 20
    assert row.real_time_factor is None


def test_real_inputs_are_used(models: ModelPair) -> None:
    x = np.full((1, 5, 8), 0.25, np.float32)
    report = benchmark([models.plain, models.small], inputs={"x": x}, **QUICK)
    assert not report.settings["inputs_are_random"]
    plain, small = (edgernn_runtimes.load(path) for path in (models.plain, models.small))
    long = {"x": np.full((1, 200, 8), 0.25, np.float32)}
    error = np.abs(plain.run(long)["y"].astype(float) - small.run(long)["y"]).max()
    assert report.rows[1].max_abs_error == pytest.approx(error)


def test_failing_accuracy_is_a_note(models: ModelPair) -> None:
    def accuracy(path: Path, target: str) -> dict[str, float] | None:
        raise EdgernnError("no data; fetch it with --download")

    (row,) = benchmark([models.plain], accuracy=accuracy, **QUICK).rows
    assert row.available
    assert row.accuracy is None
    assert row.notes[0] == "no accuracy: no data; fetch it with --download"


def test_interrupt_keeps_what_was_measured(models: ModelPair) -> None:
    saved: list[Report] = []

    def progress(what: str, share: float) -> None:
        if what == "timing sequence:5" and share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped with 2 of 2 rows measured"):
        benchmark(
            [models.plain], scenarios=["step", "sequence:5"], progress=progress,
            save=saved.append, **QUICK,
        )  # fmt: skip
    (partial,) = saved
    assert partial.partial
    assert [len(row.samples_ns) for row in partial.rows] == [20, 7]
    assert partial.rows[0].max_abs_error is None
    assert Report.from_json(partial.to_json()) == partial


def test_an_early_interrupt_leaves_rows_that_say_so(models: ModelPair) -> None:
    saved: list[Report] = []

    def progress(what: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="0 of 1"):
        benchmark([models.plain], progress=progress, save=saved.append, **QUICK)
    assert "stopped first" in (saved[0].rows[0].error or "")
    assert "Partial" in saved[0].to_html()


def test_what_is_asked_for_is_checked_first(models: ModelPair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown target 'tpu'"):
        benchmark([models.plain], ["tpu"])
    with pytest.raises(UsageError, match="unknown peer 'abacus'; the peers are onnxruntime, "):
        benchmark([models.plain], peers=["abacus"])
    with pytest.raises(UsageError, match="the forms are"):
        benchmark([models.plain], scenarios=["walk"])
    with pytest.raises(UsageError, match="at least one"):
        benchmark([])
    with pytest.raises(ModelError, match="no such file"):
        benchmark([tmp_path / "none.onnx"])
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(models.plain.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"truncated.onnx: not a readable ONNX file"):
        benchmark([models.plain, truncated])
    with pytest.raises(ModelError, match=r"truncated.onnx: not a readable ONNX file"):
        benchmark([models.plain], reference=truncated)


def test_peers_are_rows_beside_the_targets(
    models: ModelPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    asked: list[str] = []

    def accuracy(path: Path, target: str) -> dict[str, float]:
        asked.append(target)
        return {"accuracy": 0.5}

    report = benchmark(
        [models.plain], peers=["onnxruntime", "openvino"], accuracy=accuracy, **QUICK
    )
    own, peer, missing = report.rows
    assert [row.target for row in report.rows] == ["cpu", "peer:onnxruntime", "peer:openvino"]
    assert peer.available, peer.error
    assert len(peer.samples_ns) == len(own.samples_ns) == 20
    assert (peer.max_abs_error, peer.wrong_outputs, peer.accuracy) == (0.0, False, None)
    assert "install it with: pip install 'edgernn[peers]'" in (missing.error or "")
    assert asked == ["cpu"]
    assert "in 2 other engines" in report.to_markdown()


def test_a_peer_is_judged_by_the_model_it_runs(tmp_path: Path, models: ModelPair) -> None:
    other = write_model(tmp_path / "other.onnx", seed=1)  # far from the reference
    report = benchmark([models.plain, other], peers=["onnxruntime"], **QUICK)
    row = report.rows[-1]
    assert row.label == "other.onnx on peer:onnxruntime"
    assert (row.max_abs_error or 0) > 0.01
    assert not row.wrong_outputs


def test_a_decoder_is_measured_beside_its_encoder(models: ModelPair, decoder: Path) -> None:
    sizes, paths = {"source": 5}, [decoder, models.plain]
    targets = ["cpu", "native"] if edgernn_runtimes.probe("native").available else ["cpu"]
    options = {**QUICK, "cold_starts": 1, "sizes": sizes}
    report = benchmark(paths, targets, ["step", "sequence:9"], peers=["onnxruntime"], **options)
    found = {(row.model, row.target, row.scenario): row for row in report.rows}
    for target in (*targets, "peer:onnxruntime"):
        assert found["kw.onnx", target, "sequence:9"].available
        row = found["decoder.onnx", target, "step"]
        assert row.available, row.error
        assert len(row.error_by_step or ()) == 200
        assert not row.wrong_outputs
        if not target.startswith("peer:"):
            assert row.cold_start_ms
        assert "no time axis" in (found["decoder.onnx", target, "sequence:9"].error or "")
    with pytest.raises(UsageError, match="no model has a dynamic axis time2"):
        benchmark(paths, sizes={"time2": 3}, **QUICK)


def test_models_of_fixed_steps_are_compared_over_as_many(tmp_path: Path, models: ModelPair) -> None:
    fixed = write_model(tmp_path / "fixed.onnx", time=7)
    report = benchmark([models.plain, fixed], scenarios=["chunk:7"], **QUICK)
    assert [len(row.error_by_step or ()) for row in report.rows] == [196, 196]
    assert report.rows[1].max_abs_error == pytest.approx(0, abs=1e-6)


def test_frame_rate_of_preprocessing_and_argument(models: ModelPair) -> None:
    assert frame_rate(describe([models.plain])[0]) == 100.0
    report = benchmark([models.plain], frame_rate_hz=1e9, **QUICK)
    assert report.rows[0].deadline_misses == 1.0
    assert report.settings["frame_rates_hz"] == {"kw.onnx": 1e9}


def test_load_gets_threads_only_where_the_target_takes_them(models: ModelPair) -> None:
    given_options: dict[str, dict[str, Any]] = {}

    def load(path: Path, target: str, **options: Any) -> Any:
        given_options[target] = options
        return edgernn_runtimes.load(path, "cpu")

    report = benchmark([models.plain], ["cpu", "cuda", "mine"], load=load, threads=2, **QUICK)
    assert all(row.available for row in report.rows)
    assert given_options == {"cpu": {"threads": 2}, "cuda": {}, "mine": {}}
