"""Exit codes, help and the words of the command line itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.cli import Cli, runner

import edgernn.cli
from edgernn import errors
from edgernn.cli import VERBS
from edgernn.tasks import TASKS, get_task


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def test_help_lists_every_verb_and_every_verb_has_help(cli: Cli) -> None:
    shown = cli("--help").out
    for verb, summary in VERBS.items():
        assert f"{verb} " in shown
        assert summary in shown
        result = cli(verb, "--help")
        assert result.code == 0
        assert result.out.startswith(f"Usage: edgernn {verb}")


def test_usage_errors_end_with_2(cli: Cli) -> None:
    for arguments in (("nothing",), ("train",), ("train", "keywords", "--hidden", "0", "-o", "a"),
                      ("run", "m.onnx", "--nonsense")):  # fmt: skip
        result = cli(*arguments)
        assert result.code == 2
        assert "Usage: " in result.err
        assert result.out == ""


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2), (errors.ModelError, 3), (errors.ContractError, 3),
        (errors.CheckpointError, 3), (errors.InputError, 3), (errors.OutputError, 3),
        (errors.TargetUnavailable, 4), (errors.AccuracyGateError, 5),
        (errors.PerformanceGateError, 6), (errors.Interrupted, 7), (KeyboardInterrupt, 7),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], code: int
) -> None:
    @click.command()
    def failing() -> None:
        raise kind("what, where, what to do")

    monkeypatch.setattr(edgernn.cli._Verbs, "get_command", lambda *_: failing)
    result = cli("doctor")
    assert result.code == code
    assert len(result.err.strip().splitlines()) == 1
    if issubclass(kind, errors.EdgernnError):
        assert result.err == "error: what, where, what to do\n"


def test_version_and_module_form() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgernn", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("edgernn, version ")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m edgernn --help; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr


def test_doctor_names_what_is_missing_and_how_to_get_it(cli: Cli) -> None:
    found = json.loads(cli("doctor", "--json").out)
    assert found["targets"]["cpu"]["available"] is True
    for entries in found.values():
        for entry in entries.values():
            assert entry["detail"]
            assert entry["available"] == (entry["remedy"] == "")
    text = cli("doctor").out
    for name in (*found["targets"], *found["tools"]):
        assert name in text


def test_tasks_lists_and_gives_a_sample(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = cli("tasks").out
    for task in map(get_task, TASKS):  # whole, however narrow the terminal
        assert task.name in listed
        assert task.metric.name in listed
    assert json.loads(cli("tasks", "--json").out)[0]["metric"] == "accuracy"
    monkeypatch.chdir(tmp_path)
    name = cli("tasks", "--sample", "keywords").out.strip()
    assert (tmp_path / name).read_bytes().startswith(b"RIFF")
    assert cli("tasks", "--sample", "cooking").code == 2
