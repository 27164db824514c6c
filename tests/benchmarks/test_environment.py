from __future__ import annotations

import getpass
import json
import platform
import socket
from pathlib import Path

import pytest

from edgernn_benchmarks.environment import capture, conditions, git_revision, operating_system


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


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("#1 SMP PREEMPT_DYNAMIC Debian", "Linux 6.1.0"),
        ("#1 SMP PREEMPT_RT Debian", "Linux 6.1.0 PREEMPT_RT"),
        ("#1 SMP PREEMPT RT Tue", "Linux 6.1.0 PREEMPT_RT"),
    ],
)
def test_a_real_time_kernel_says_so(
    version: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-rt7-of-a-person")
    monkeypatch.setattr(platform, "version", lambda: version)
    assert operating_system() == expected


def test_a_revision_is_a_hash_or_nothing() -> None:
    revision = git_revision()
    assert revision is None or len(revision.removesuffix("+")) == 12


def test_no_git_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None
