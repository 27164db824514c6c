from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from edgernn_benchmarks.environment import capture, conditions, git_revision


def test_capture_is_json_and_names_the_machine_only() -> None:
    found = capture(["cpu", "cuda"]) | {"before": conditions()}
    text = json.dumps(found, allow_nan=False)
    assert found["packages"]["numpy"]
    assert found["cores_online"] >= 1
    assert found["timer_overhead_ns"] >= 0
    assert found["time_utc"].endswith("+00:00")
    secrets = {socket.gethostname(), str(Path.home()), str(Path.cwd())}
    if len(getpass.getuser()) > 3 and getpass.getuser() != "root":
        secrets.add(getpass.getuser())
    assert not [secret for secret in secrets if len(secret) > 3 and secret in text]


def test_a_revision_is_a_hash_or_nothing() -> None:
    revision = git_revision()
    assert revision is None or len(revision.removesuffix("+")) == 12


def test_no_git_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None
