from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.mini_projects import (
    BABBLE,
    DEEP,
    ENDLESS,
    EXIT,
    WILD_JUMP,
    WILD_STORE,
    leaky,
)

from edgernn.errors import EdgernnError, ModelError, TargetUnavailable, UsageError
from edgernn_runtimes.emulated.boards import BOARDS
from edgernn_runtimes.emulated.faults import fault_text
from edgernn_runtimes.emulated.machine import FIRST, Machine

X = normal(1, 1, 5, 2)


def faulty(what: int) -> dict[str, np.ndarray]:
    return {"x": np.array([[[what, 0]]], np.float32)}


def emulators() -> set[int]:
    """Return the processes that this one started and that have not ended."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    threads = Path("/proc/self/task").iterdir()
    for thread in threads:
        children += (thread / "children").read_text().split()
    states = {int(child): Path(f"/proc/{child}/stat") for child in children}
    return {pid for pid, stat in states.items()
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"}  # fmt: skip


CRASHES = [
    ("cortex-m4", WILD_STORE, "access to where there is no memory in leaky_"),
    ("cortex-m4", WILD_JUMP, "jump to where there is no code"),
    ("cortex-m7", DEEP, r"stack overflow \(the stack has 65536 bytes\)"),
    ("cortex-m4", EXIT, "the emulator ended with exit code 3"),
    ("cortex-m4", BABBLE, "it wrote to its output what is not a frame"),
    ("cortex-m55", WILD_STORE, "access to where there is no memory in leaky_"),
    ("cortex-m55", DEEP, "stack overflow"),
    ("riscv32", WILD_STORE, "access to where there is no memory in leaky_"),
    ("riscv32", WILD_JUMP, "jump to where there is no code"),
    ("riscv32", DEEP, "stack overflow"),
    ("aarch64", WILD_STORE, "ended with signal SIGSEGV;"),
    ("armv7", DEEP, "ended with signal SIGSEGV;"),
    ("armv7", EXIT, "exit code 3"),
]


@pytest.mark.parametrize(("board", "fault", "expected"), CRASHES)
def test_a_crash_is_one_clear_error_and_the_session_goes_on(
    opened: Any, board: str, fault: int, expected: str
) -> None:
    session = opened("leaky", board)
    stream = session.stream()
    stream.step(X[:, :2])
    for use in (session.run, stream.step):
        with pytest.raises(ModelError, match=expected) as caught:
            use(faulty(fault))
        text = str(caught.value)
        assert f"the program on {board} crashed: " in text
        assert text.endswith("please report this with the model")
        assert "\n" not in text
    np.testing.assert_array_equal(stream.step(X[:, 2:]), leaky(X)[:, 2:])


@pytest.mark.parametrize("board", ["cortex-m4", "aarch64"])
def test_a_program_that_does_not_end_is_stopped(opened: Any, board: str) -> None:
    before = emulators()
    session = opened("leaky", board, fresh=True, timeout_s=0.5)
    start = time.monotonic()
    with pytest.raises(
        ModelError, match=r"did not finish 1 time step within 0.5 s and was stopped"
    ):
        session.run(faulty(ENDLESS))
    assert 0.4 < time.monotonic() - start < 10
    assert emulators() == before
    np.testing.assert_array_equal(session.run({"x": X})["y"], leaky(X))
    assert len(emulators() - before) == 1
    session.close()
    assert emulators() == before


def test_counting_a_program_that_crashes_leaves_nothing(opened: Any) -> None:
    session = opened("leaky")
    session.run({"x": X})
    before = emulators()
    with pytest.raises(ModelError, match="access to where there is no memory"):
        session.measure(inputs=faulty(WILD_STORE))
    assert emulators() == before


def test_close_stops_a_request_of_another_thread(opened: Any) -> None:
    session = opened("leaky", fresh=True)
    raised: list[EdgernnError] = []

    def work() -> None:
        try:
            session.run(faulty(ENDLESS))
        except EdgernnError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    session.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(raised[0], UsageError)
    assert "was closed" in str(raised[0])


def test_an_interrupt_stops_the_emulator_and_keeps_the_session(opened: Any) -> None:
    session = opened("leaky", fresh=True)
    before = emulators()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            session.run(faulty(ENDLESS))
    finally:
        signal.signal(signal.SIGALRM, old)
    assert emulators() < before
    np.testing.assert_array_equal(session.run({"x": X})["y"], leaky(X))
    session.close()


def test_an_emulator_that_was_killed_is_reported_and_started_again(opened: Any) -> None:
    before = emulators()
    session = opened("leaky", fresh=True)
    (pid,) = emulators() - before
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelError, match="ended with signal SIGKILL"):
        session.run({"x": X})
    np.testing.assert_array_equal(session.run({"x": X})["y"], leaky(X))
    session.close()


def test_no_emulator_outlives_python(opened: Any) -> None:
    """Also when it is killed: the program sees the end of its input; its time is limited too."""
    session = opened("leaky", fresh=True)
    code = f"""
import os, resource, signal
from edgernn_runtimes.emulated.machine import FIRST, Machine
from edgernn_runtimes.emulated.boards import BOARDS
machine = Machine({session.served.machine._command!r}, BOARDS["cortex-m4"], "a.onnx", str)
machine.request(FIRST, reply_bytes=8, timeout_s=5)
pid = machine._running._popen.pid
print(pid, resource.prlimit(pid, resource.RLIMIT_CPU)[0], flush=True)
if input() == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    for how in ("kill", "end"):
        done = subprocess.run(
            [sys.executable, "-c", code], input=how, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == (-signal.SIGKILL if how == "kill" else 0), done.stderr
        pid, limit = map(int, done.stdout.split())
        assert 10 < limit < 40
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{pid}").exists()
    session.close()


def test_no_core_files_are_left(opened: Any) -> None:
    session = opened("leaky", "armv7", fresh=True)
    pid = session.served.machine._running._popen.pid
    assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
    session.close()


def test_an_emulator_that_does_not_start_is_an_unavailable_target(tmp_path: Path) -> None:
    script = tmp_path / "qemu-system-arm"
    script.write_text("#!/bin/sh\necho 'qemu: unsupported machine type' >&2\nexit 1\n")
    script.chmod(0o755)
    expected = "did not start the program: the emulator ended with exit code 1: qemu: unsupported"
    for command, text in (([str(script)], expected), (["/none"], "/none cannot be started: No")):
        machine = Machine(command, BOARDS["cortex-m4"], "a.onnx", str)
        with pytest.raises(TargetUnavailable, match=re.escape(text)) as caught:
            machine.request(FIRST, reply_bytes=8, timeout_s=5)
        assert caught.value.exit_code == 4
        machine.close()


@pytest.mark.parametrize(
    ("board", "cause", "text"),
    [("cortex-m4", 1 << 25, "division by zero"), ("cortex-m4", 0, "hard fault, CFSR 0x0"),
     ("cortex-m55", 1 << 20, "stack overflow"), ("riscv32", 2, "unknown instruction"),
     ("riscv32", 99, "trap 99")],
)  # fmt: skip
def test_faults_have_names(board: str, cause: int, text: str) -> None:
    assert fault_text(BOARDS[board], cause) == text
