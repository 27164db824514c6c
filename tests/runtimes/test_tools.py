from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgernn_runtimes import tools


@pytest.mark.parametrize("name", tools.TOOLS)
def test_every_tool_is_found_or_says_how_to_install_it(name: str) -> None:
    found = tools.find_tool(name)
    assert found.detail
    assert found.remedy == ("" if found.available else tools.TOOLS[name].install)


def test_a_missing_program_names_its_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = tools.find_tool("espeak-ng")
    assert not found.available
    assert found.detail == "not installed; needed for making the spoken digits again"
    assert found.remedy == "apt-get install espeak-ng"


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo one; echo two", "one"), ("printf '\\377'", "\N{REPLACEMENT CHARACTER}"),
     ("exit 3", None)],
)  # fmt: skip
def test_a_program_tells_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: str | None
) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.find_tool("espeak-ng").detail == (expected or str(program))
