from __future__ import annotations

import pytest

from edgernn.training.launch import processes_asked, start_missing_processes

TRAIN = ["-m", "edgernn", "train", "keywords", "--num_processes", "9"]


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        (["python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "2", *TRAIN], 2),
        (["python", "-m", "accelerate.commands.launch", "--num-processes=3", "--cpu", *TRAIN], 3),
        (["python", "/bin/accelerate-launch", "--cpu", *TRAIN], 1),
        (["accelerate", "launch", "--num_machines", "2", "--num_processes", "4", *TRAIN], 1),
        (["bash", "-c", "edgernn train keywords"], 1),
        ([], 1),
    ],
)
def test_processes_are_read_from_the_command_line(command: list[str], processes: int) -> None:
    assert processes_asked(command) == processes


@pytest.mark.parametrize("rank", [None, "0"])
def test_nothing_is_started_without_need(monkeypatch: pytest.MonkeyPatch, rank: str | None) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("started a process"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    start_missing_processes()  # the parent is not accelerate
