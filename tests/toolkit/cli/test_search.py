"""``edgernn quantize --auto`` as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.cli import Cli, runner
from helpers.fitted import write_keyword_model
from helpers.models import write_model

from edgernn_exporters.inspection import inspect

AUTO = ("--auto", "--samples", "60")
FEW = ("--candidate", "int8", "--candidate", "int8-dynamic")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture(scope="module")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keyword_model(tmp_path_factory.mktemp("auto") / "kw.onnx")


def test_the_smallest_file_within_the_drop_is_written_and_explained(
    cli: Cli, keywords: Path, tmp_path: Path
) -> None:
    output, page = tmp_path / "a.onnx", tmp_path / "a.html"
    done = cli("quantize", keywords, "-o", output, *AUTO, *FEW, "--max-drop", "5%",
               "--report", page)  # fmt: skip
    assert done.code == 0
    assert done.err == ""  # progress is for terminals
    for words in ("one layer quantized", "Pareto front", "chosen", "sequence_1 (GRU)", "drop",
                  "validation examples", f"written to {page}"):  # fmt: skip
        assert words in done.out
    assert "note: accuracy" not in done.out
    assert set(inspect(output).metadata.layers.values()) <= {"int8", "int8-dynamic"}
    assert "<svg" in page.read_text()


def test_json_goes_to_the_report_page(cli: Cli, keywords: Path, tmp_path: Path) -> None:
    done = cli("quantize", keywords, "-o", tmp_path / "a.onnx", *AUTO, *FEW, "--json")
    assert done.code == 0
    value = json.loads(done.out)
    assert value["candidates"][value["chosen"]]["choice"] == dict(
        inspect(tmp_path / "a.onnx").metadata.layers
    )
    source = tmp_path / "search.json"
    source.write_text(done.out)
    made = cli("report", source)
    assert made.code == 0
    assert "Why these precisions" in source.with_suffix(".html").read_text()
    assert cli("report", source, "--markdown", tmp_path / "a.md").code == 2
    source.write_text(json.dumps({**value, "version": 99}))
    assert cli("report", source).code == 3


def test_nothing_within_the_limits_ends_with_what_is_nearest(
    cli: Cli, keywords: Path, tmp_path: Path
) -> None:
    output, page = tmp_path / "a.onnx", tmp_path / "a.html"
    done = cli("quantize", keywords, "-o", output, *AUTO, *FEW, "--max-drop", "100%",
               "--max-flash", "1k", "--report", page)  # fmt: skip
    assert done.code == 6
    assert "no choice of precisions keeps drop 100 %, flash 1.0 kB" in done.err
    assert "nearest: " in done.err
    assert "Pareto front" in done.out
    assert not output.exists()
    assert "Nothing written" in page.read_text()


def test_a_drop_that_nothing_keeps_ends_with_5(cli: Cli, keywords: Path, tmp_path: Path) -> None:
    """Four bits are too few for this GRU."""
    done = cli("quantize", keywords, "-o", tmp_path / "a.onnx", *AUTO, "--candidate", "int4",
               "--keep", "matmul*", "--layer", "sequence*=int4", "--max-drop", "1%")  # fmt: skip
    assert done.code == 5
    assert "over: int4, float32 " in done.out
    assert "nearest: sequence_1 int4, matmul_5 float32: drop " in done.err
    assert "(allowed 1 %)" in done.err
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--max-drop", "1%"), "--max-drop belongs to a search; add --auto"),
        (("--candidate", "int8"), "--candidate belongs to a search; add --auto"),
        (("--auto", "--precision", "int8"), "exclude each other"),
        (("--auto", "--max-flash", "big"), "is not a size"),
        (("--auto", "--target", "toaster"), "unknown target 'toaster'"),
        (("--auto", "--max-instructions", "10k"), "instructions are counted on emulated targets"),
        (("--auto", "--target", "cortex-m4", "--max-latency", "1ms"), "says nothing of time"),
        (("--auto", "--candidate", "int7"), "unknown precision int7"),
        # before the calibration, which would not find its file
        (("--auto", "--candidate", "int7", "--calibration", "none.npz"), "unknown precision int7"),
        (("--auto", "--task", "cooking"), 'no task "cooking"'),
    ],
)
def test_wrong_usage_ends_with_2(
    cli: Cli, keywords: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = cli("quantize", keywords, "-o", tmp_path / "a.onnx", *arguments)
    assert done.code == 2
    assert words in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_names_no_task_needs_one(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    done = cli("quantize", model, "-o", tmp_path / "a.onnx", "--auto")
    assert done.code == 2
    assert "say which one with --task" in done.err


def command(model: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "edgernn", "quantize", str(model), "-o", str(output), *AUTO]


@pytest.mark.slow
def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    """SIGINT to a real process in the middle; the second run measures only the rest."""
    model = write_keyword_model(tmp_path / "kw.onnx", layers=2, hidden_size=32)
    output = tmp_path / "a.onnx"
    journal = tmp_path / "a.onnx.search.jsonl"
    arguments = [*command(model, output), "--trials", "20"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and len(_lines(journal)) < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 7, err
    assert "run the same command again to go on" in err
    assert str(journal) in err
    assert not output.exists()
    kept = _lines(journal)
    assert 4 <= len(kept) < 33
    subprocess.run(arguments, check=True, capture_output=True, timeout=300)
    assert output.exists()
    after = _lines(journal)
    assert after[: len(kept)] == kept
    choices = [json.dumps(json.loads(line)["choice"], sort_keys=True) for line in after]
    assert len(set(choices)) == len(choices) == 33
    subprocess.run([*arguments, "--max-drop", "9%"], check=True, capture_output=True, timeout=300)
    assert _lines(journal)[: len(after)] == after


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_progress_is_shown_on_a_terminal(keywords: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command(keywords, tmp_path / "a.onnx"), *FEW],
        stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Linux says so at the end of a terminal
        pass
    assert process.wait(timeout=120) == 0
    os.close(ours)
    assert b"one layer" in shown
    assert b"/9" in shown
