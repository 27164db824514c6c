"""Run the command line in this process and return what a shell would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgernn.cli import main


@dataclass(frozen=True)
class Result:
    """Exit code and the two outputs of a command."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def runner(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return ``cli(*arguments)``."""

    def cli(*arguments: str | Path) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return cli
