from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import Cli, runner
from helpers.models import ModelPair, write_model

import edgernn_benchmarks
from edgernn.errors import OutputError
from edgernn.files import check_writable, write_text
from edgernn_benchmarks.peers import PEERS

QUICK = ("--scenario", "step", "--iterations", "20", "--warmup", "1")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything is measured."""

    def measured(*arguments: object, **options: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("edgernn_benchmarks.run.measure", measured)


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_what_is_no_model_ends_the_command(
    content: str, models: ModelPair, tmp_path: Path, cli: Cli
) -> None:
    bad = tmp_path / "bad.onnx"
    whole = models.plain.read_bytes()
    bad.write_bytes({"truncated": whole[:2000], "text": b"hello", "empty": b""}[content])
    done = cli("bench", models.plain, bad, *QUICK)
    assert done.code == 3
    assert "not a readable ONNX file" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--data", "/no/such/folder"], 3, "/no/such/folder"),
        (["--holdout", "theo"], 2, "no speaker"),
    ],
)
def test_data_that_cannot_be_read_end_the_command(
    options: list[str], code: int, expected: str, tmp_path: Path, cli: Cli
) -> None:
    model = write_model(tmp_path / "m.onnx", task="keywords")
    done = cli("bench", model, *QUICK, *options)
    assert (done.code, expected in done.err) == (code, True), done.err


@pytest.mark.usefixtures("never")
def test_data_for_models_without_a_task_are_refused(models: ModelPair, cli: Cli) -> None:
    done = cli("bench", models.plain, *QUICK, "--data", ".")
    assert done.code == 2
    assert "the data would not be used" in done.err


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("option", ["--json", "--report", "--markdown"])
def test_a_result_that_cannot_be_written_ends_the_command(
    option: str, models: ModelPair, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "result"):
        done = cli("bench", models.plain, *QUICK, option, place)
        assert done.code == 3
        assert str(place) in done.err
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("fix", ["time=9", "sorce=9"])
def test_sizes_of_other_axes_end_the_command(fix: str, models: ModelPair, cli: Cli) -> None:
    done = cli("bench", models.plain, *QUICK, "--fix", fix)
    assert done.code == 2
    assert f"--fix {fix}: " in done.err


def test_peers_are_measured(models: ModelPair, cli: Cli) -> None:
    done = cli("bench", models.plain, *QUICK, "--peer", "onnxruntime")
    assert done.code == 0, done.err
    assert "peer:onnxruntime" in done.out
    done = cli("bench", models.plain, *QUICK, "--peer", "abacus")
    assert done.code == 2
    assert "the peers are onnxruntime, onnxruntime-int8, torch, openvino, tract, emx" in done.err


def test_the_help_names_every_peer(cli: Cli) -> None:
    said = " ".join(cli("bench", "--help").out.split())
    assert ", ".join(PEERS) in said


def test_failed_accuracy_is_shown(tmp_path: Path, cli: Cli) -> None:
    model = write_model(tmp_path / "m.onnx", task="keywords", input_size=3)
    done = cli("bench", model, *QUICK, "--markdown", tmp_path / "table.md")
    assert done.code == 0, done.err
    assert "m.onnx on cpu: No accuracy: " in done.out
    assert "No accuracy: " in (tmp_path / "table.md").read_text()


def test_the_table_is_printed_before_saving(
    models: ModelPair, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(report: edgernn_benchmarks.Report, path: Path) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("edgernn_benchmarks.report.Report.save_json", full)
    done = cli("bench", models.plain, *QUICK, "--json", tmp_path / "r.json")
    assert (done.code, "the disk is full" in done.err) == (3, True)
    assert "kw.onnx" in done.out


def test_an_interrupt_prints_and_saves_what_was_finished(
    models: ModelPair, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgernn_benchmarks.run.numeric_error", stop)
    path = tmp_path / "new" / "r.json"
    done = cli("bench", models.plain, *QUICK, "--json", path)
    assert done.code == 7
    assert "partial: stopped before its end" in done.out
    assert json.loads(path.read_text())["partial"]


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folders" / "r.json")
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "old.json"
    write_text(path, "old")
    check_writable(path)
    assert [item.name for item in tmp_path.iterdir()] == ["old.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("place", [".", "old.json/r.json", "x" * 300, "x" * 300 + "/r.json"])
def test_check_writable_refuses_what_cannot_be_written(tmp_path: Path, place: str) -> None:
    write_text(tmp_path / "old.json", "old")
    with pytest.raises(OutputError, match=r"folder|cannot write"):
        check_writable(tmp_path / place)
    with pytest.raises(OutputError, match="device or a pipe"):
        check_writable("/dev/null")
