"""``edgernn export`` of a user's own module: axes, states, and the gate left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers.cli import Cli, runner

from edgernn_exporters.inspection import inspect

MODULE = """
from torch import nn


class Keeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)

    def forward(self, x, h):
        y, h = self.rnn(x, h * 0.5)
        return {"y": y, "hn": h}
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # export adds this folder
    (tmp_path / "keeping_module.py").write_text(MODULE)
    examples = ["--example", "1,10,5", "--example", "1,1,7"]
    return ["export", "keeping_module:Keeping", "-o", "m.onnx", *examples]


def test_states_and_axes_are_named_and_the_gate_is_left_out(cli: Cli, arguments: list[str]) -> None:
    said = [*arguments, "--axes", "x=batch,time,_", "--state", "h=hn", "--no-gate"]
    done = cli(*said, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["states"], told["causal"], told["gate"]) == (["h"], True, None)
    assert told["unproven"] == inspect("m.onnx").metadata.unproven == "exported with --no-gate"
    assert "not proven" in cli(*said).out


def test_what_was_found_is_told(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code == 0, done.err
    assert "no states" in done.out
    assert "whole sequences only: layer 'rnn' starts from a state that" in done.out
    assert "--state h=hn" in done.out
    assert "gate passed" in done.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--axes", "x"], "is not INPUT=AXES"),
        (["--axes", "x=batch,,_"], "is not INPUT=AXES"),
        (["--state", "h"], "is not IN=OUT"),
        (["--no-gate", "--tolerance", "1e-4"], "leaves the gate out"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    cli: Cli, arguments: list[str], options: list[str], expected: str
) -> None:
    done = cli(*arguments, *options)
    assert done.code == 2
    assert expected in done.err


def test_axes_and_states_are_for_modules(cli: Cli) -> None:
    done = cli("export", "runs/none", "-o", "m.onnx", "--state", "h=hn")
    assert done.code == 2
    assert "go with MODULE:FUNCTION" in done.err
